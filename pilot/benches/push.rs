//! What a push costs the control plane, network apart: everything for one sidecar when nothing was
//! made before, the same when another sidecar had it, and a change of one service's endpoints.
//!
//! Each service has three endpoints and an HTTP port, as in `cargo bench-mesh xds-swarm`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use mesh_pilot::ingest::{MeshConfigMap, decode_all};
use mesh_pilot::snapshot::{Inputs, Snapshot};
use mesh_pilot::translate::{Names, Proxy, resources};
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_xds::server::{DeltaSession, Interner, Session};
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use prost::Message;

const SERVICES: [usize; 3] = [10, 100, 1000];

/// A mesh of so many services, and one where the first has lost an endpoint.
fn meshes(services: usize) -> [Inputs; 2] {
    let mut manifests = decode_all(&text(services), "bench", &MeshConfigMap::default()).items;
    let before = manifests.iter().map(|(_, item)| item.clone()).collect();
    let changed = decode_all(&slice(0, 2), "bench", &MeshConfigMap::default()).items;
    for (key, item) in changed {
        let place = manifests.iter_mut().find(|(known, _)| *known == key);
        place.unwrap().1 = item;
    }
    let after = manifests.into_iter().map(|(_, item)| item).collect();
    [before, after]
}

fn text(services: usize) -> String {
    let mut text = String::new();
    for number in 0..services {
        let (high, low) = (number >> 8, number & 255);
        write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: service-{number}, namespace: mass}}\n\
             spec: {{clusterIP: 10.96.{high}.{low}, selector: {{app: service-{number}}}, \
             ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n---\n{}",
            slice(number, 3)
        )
        .unwrap();
        for endpoint in 0..3 {
            write!(
                text,
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: service-{number}-{endpoint}, namespace: mass, \
                 labels: {{app: service-{number}, security.istio.io/tlsMode: istio}}}}\n\
                 spec: {{serviceAccountName: service-{number}, containers: [{{name: app}}]}}\n\
                 status: {{podIP: 10.{}.{high}.{low}, phase: Running}}\n---\n",
                128 + endpoint
            )
            .unwrap();
        }
    }
    text
}

fn slice(number: usize, endpoints: usize) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: service-{number}-1, namespace: mass, \
         labels: {{kubernetes.io/service-name: service-{number}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n"
    );
    for endpoint in 0..endpoints {
        let (high, low) = (number >> 8, number & 255);
        writeln!(text, "- addresses: [10.{}.{high}.{low}]", 128 + endpoint).unwrap();
    }
    text + "---\n"
}

fn sidecar(number: usize) -> Proxy {
    let id = format!("sidecar~10.200.0.{number}~p{number}.mass~mass.svc.cluster.local");
    let node = Node {
        id,
        ..Node::default()
    };
    Proxy::from_node(&node).unwrap()
}

/// Everything that a sidecar asks for, in its order; the number of resources.
fn translate(snapshot: &Snapshot, proxy: &Proxy) -> usize {
    let all = [CLUSTER, ENDPOINT, LISTENER, ROUTE];
    let all = all.map(|type_url| resources(snapshot, proxy, type_url, &Names::All).len());
    all.iter().sum()
}

/// A new client's stream as far as clusters and endpoints: subscriptions, differences, answers, and
/// the messages as bytes.
fn converse(snapshot: &Snapshot, proxy: &Proxy, interner: &Interner, names: &[String]) -> usize {
    let mut session = DeltaSession::new(1, interner.clone());
    let mut bytes = 0;
    for (type_url, names) in [(CLUSTER, &[][..]), (ENDPOINT, names)] {
        let mut request = DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names.to_vec(),
            ..DeltaDiscoveryRequest::default()
        };
        while let Some(scope) = session.receive(&request).due {
            let resources = resources(snapshot, proxy, type_url, &scope);
            let outgoing = session.send(type_url, &scope, &resources, "1").unwrap();
            let response = outgoing.response.to_bytes();
            bytes += response.len();
            request = DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                response_nonce: DeltaDiscoveryResponse::decode(response).unwrap().nonce,
                ..DeltaDiscoveryRequest::default()
            };
        }
    }
    bytes
}

fn push(c: &mut Criterion) {
    let mut group = c.benchmark_group("push");
    group.sample_size(20);
    for services in SERVICES {
        let [before, after] = meshes(services);
        let of = |what: &str| BenchmarkId::new(what, services);
        group.bench_function(of("translate for the first sidecar"), |b| {
            let (snapshot, proxy) = (|| Snapshot::build(before.clone()), sidecar(1));
            b.iter_batched_ref(
                snapshot,
                |snapshot| translate(snapshot, &proxy),
                BatchSize::PerIteration,
            );
        });

        let snapshot = Snapshot::build(before);
        translate(&snapshot, &sidecar(1));
        group.bench_function(of("translate for the next sidecar"), |b| {
            let proxy = sidecar(2);
            b.iter(|| translate(black_box(&snapshot), &proxy));
        });

        let endpoints = resources(&snapshot, &sidecar(1), ENDPOINT, &Names::All);
        let names: Vec<String> = endpoints.iter().map(|one| one.name().to_string()).collect();
        let interner = Interner::default();
        group.bench_function(of("clusters and endpoints to the next sidecar"), |b| {
            let proxy = sidecar(2);
            b.iter(|| converse(black_box(&snapshot), &proxy, &interner, &names));
        });

        group.bench_function(of("change of one service's endpoints"), |b| {
            let proxy = sidecar(1);
            b.iter_batched(
                || after.clone(),
                |inputs| {
                    let (snapshot, change) = Snapshot::build_after(inputs, &snapshot);
                    assert_eq!(change.endpoints.len(), 1);
                    translate(&snapshot, &proxy)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, push);
criterion_main!(benches);
