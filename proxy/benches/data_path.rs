//! What the data path pays per connection and per request, without a network.

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderValue;
use mesh_proxy::detect::{Inspect, classify};
use mesh_proxy::metrics::{
    Ends, Families, Flags, Outcome, Recorder, Reporter, RequestProtocol, SecurityPolicy, Service,
};
use mesh_proxy::peer::{Announcement, Peer, PeerCache};
use mesh_telemetry::access_log::ResponseFlags;
use mesh_telemetry::metrics::Registry;
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};
use std::hint::black_box;
use std::rc::Rc;
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
    let recorder = Recorder::new(Families::register(&Registry::new()));
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
}

criterion_group!(benches, detection, peers, metrics);
criterion_main!(benches);
