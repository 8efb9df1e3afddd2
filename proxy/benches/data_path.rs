//! What the data path pays per connection and per request, without a network.

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Method};
use mesh_proxy::detect::{Inspect, classify};
use mesh_proxy::http1::decode::{Decoder, Piece};
use mesh_proxy::http1::encode::{self, Persistence, RequestLine};
use mesh_proxy::http1::head::{self, Framing, Limits, Scanner};
use mesh_proxy::metrics::{
    Ends, Families, Flags, Outcome, Recorder, Reporter, RequestProtocol, SecurityPolicy, Service,
};
use mesh_proxy::peer::{Announcement, Peer, PeerCache};
use mesh_proxy::state::SnapshotStore;
use mesh_route::Snapshot;
use mesh_telemetry::access_log::ResponseFlags;
use mesh_telemetry::metrics::Registry;
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const REQUEST: &[u8] =
    b"GET /productpage?u=normal HTTP/1.1\r\nHost: productpage:9080\r\nUser-Agent: curl/8\r\n\r\n";

fn detection(c: &mut Criterion) {
    let inspect = Inspect {
        tls: true,
        http: true,
    };
    c.bench_function("detect/http1", |b| {
        b.iter(|| classify(black_box(REQUEST), inspect))
    });
}

/// As a sidecar gets it from a browser's request: twelve fields.
const HEAD: &[u8] = b"GET /productpage?u=normal HTTP/1.1\r\nhost: productpage:9080\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    accept-language: en-US,en;q=0.5\r\naccept-encoding: gzip, deflate\r\ncookie: session=abc\r\n\
    x-request-id: 8c5f0b52-0a5b-4f7e-9d52-cc9e9e4c7a11\r\nx-forwarded-proto: http\r\n\
    x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid: a2fb4a1d1a96d312\r\n\
    x-b3-sampled: 0\r\nupgrade-insecure-requests: 1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n\
    content-length: 100\r\nserver: gunicorn\r\ndate: Sat, 21 Nov 2026 07:00:00 GMT\r\n\
    x-envoy-upstream-service-time: 3\r\n\r\n";
const LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    preserve_case: false,
};

fn heads(c: &mut Criterion) {
    let read_request = || {
        let mut buffer = BytesMut::from(HEAD);
        let taken = Scanner::default().take(&mut buffer, LIMITS.head_bytes, head::check_request);
        let bytes = taken.expect("valid").expect("whole");
        head::request(&bytes, &LIMITS).expect("valid")
    };
    let read_response = || {
        let mut buffer = BytesMut::from(ANSWER);
        let taken = Scanner::default().take(&mut buffer, LIMITS.head_bytes, head::check_response);
        let bytes = taken.expect("valid").expect("whole");
        head::response(&bytes, &LIMITS, &Method::GET).expect("valid")
    };
    c.bench_function("http1/read a request's head", |b| b.iter(read_request));
    c.bench_function("http1/read a response's head", |b| b.iter(read_response));
    let (asked, _) = read_request().request.into_parts();
    let (answer, _) = read_response().response.into_parts();
    let mut out = Vec::with_capacity(4096);
    c.bench_function("http1/write a request's head", |b| {
        let line = RequestLine {
            method: &asked.method,
            target: &asked.uri,
        };
        b.iter(|| {
            out.clear();
            encode::request_head(&mut out, &line, &asked.headers, Framing::Empty, None);
        });
    });
    c.bench_function("http1/write a response's head", |b| {
        let framing = Some(Framing::Length(100));
        b.iter(|| {
            out.clear();
            let (status, headers) = (answer.status, &answer.headers);
            encode::response_head(
                &mut out,
                status,
                headers,
                framing,
                Persistence::Implied,
                None,
            );
        });
    });
}

fn chunks(c: &mut Criterion) {
    let mut body = Vec::new();
    for _ in 0..4 {
        encode::chunk_start(&mut body, 4096);
        body.extend_from_slice(&[b'x'; 4096]);
        body.extend_from_slice(encode::CHUNK_END);
    }
    encode::last_chunk(&mut body, None);

    c.bench_function("http1/read 16 KiB in 4 chunks", |b| {
        b.iter(|| {
            let mut buffer = BytesMut::from(&body[..]);
            let mut decoder = Decoder::new(Framing::Chunked);
            while !matches!(decoder.next(&mut buffer), Ok(Some(Piece::End))) {}
        });
    });
}

/// What a worker does for each request, alone and while the control thread publishes.
fn snapshots(c: &mut Criterion) {
    let store = Arc::new(SnapshotStore::default());
    c.bench_function("snapshot/look", |b| b.iter(|| store.swap().load().version));
    let end = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (store, end) = (Arc::clone(&store), Arc::clone(&end));
        move || {
            while !end.load(Ordering::Relaxed) {
                store.publish(Arc::new(Snapshot::default()));
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    });
    c.bench_function("snapshot/look, 1,000 swaps a second", |b| {
        b.iter(|| store.swap().load().version);
    });
    end.store(true, Ordering::Relaxed);
    publisher.join().expect("the publisher does not panic");
    c.bench_function("snapshot/swap", |b| {
        b.iter(|| store.publish(Arc::default()))
    });
}

fn header() -> HeaderValue {
    let text = |value: &str| Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    let fields = [
        ("NAME", "reviews-v2-abc"),
        ("NAMESPACE", "default"),
        ("WORKLOAD_NAME", "reviews-v2"),
    ];
    let fields = fields.map(|(key, value)| (key.to_owned(), text(value)));
    Announcement::new(
        &Struct {
            fields: fields.into_iter().collect(),
        },
        "node",
    )
    .metadata
}

fn peers(c: &mut Criterion) {
    let (cache, value) = (PeerCache::default(), header());
    c.bench_function("peer/known", |b| b.iter(|| cache.get(black_box(&value))));
    c.bench_function("peer/decode", |b| {
        b.iter(|| Peer::from_header(black_box(value.as_bytes())))
    });
}

fn metrics(c: &mut Criterion) {
    let registry = Registry::new();
    let recorder = Recorder::new(Families::register(&registry));
    let service = Service {
        host: "a.test".into(),
        name: "a".into(),
        namespace: "default".into(),
    };
    let ends = Ends {
        reporter: Reporter::Source,
        source: Rc::default(),
        source_principal: None,
        destination: Rc::default(),
        destination_principal: None,
        service: Rc::new(service),
        policy: SecurityPolicy::Unknown,
    };
    let outcome = Outcome {
        protocol: RequestProtocol::Http,
        code: 200,
        grpc_status: None,
        flags: Flags(ResponseFlags::NONE),
    };
    c.bench_function("metrics/request", |b| {
        b.iter(|| {
            recorder.request(
                black_box(&ends),
                outcome,
                Duration::from_millis(3),
                200,
                1000,
            )
        });
    });
    let paths = registry.counter("paths_total", "A thousand series.", &["path"]);
    for path in 0..1000 {
        paths.with(&[&format!("/path/{path}")]).inc();
    }
    c.bench_function("metrics/scrape 1,000 series", |b| {
        b.iter(|| registry.render())
    });
}

criterion_group!(benches, detection, heads, chunks, snapshots, peers, metrics);
criterion_main!(benches);
