//! Mutual TLS between two workloads, in memory: what a new connection costs either side.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ops::DerefMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_identity::tls::{self, ALPN_ISTIO_HTTP11, ClientAuth};
use mesh_identity::{PrivateKey, SpiffeId, SpiffeIdSet, WorkloadCertificate};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection};

const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
const SNI: &str = "outbound_.9080_._.reviews.default.svc.cluster.local";

/// Certificates of the same authority, P-256, as the control plane signs them.
fn certificates(ids: [&str; 2]) -> [WorkloadCertificate; 2] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    ids.map(|id| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id).unwrap())];
        let chain = params.signed_by(&key, &issuer).unwrap().pem();
        let key = PrivateKey::from_pkcs8_der(key.serialize_der());
        WorkloadCertificate::from_pem(chain.as_bytes(), &key, root.as_bytes()).unwrap()
    })
}

/// Time of one handshake: the client's, the server's.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> [Duration; 2] {
    let start = Instant::now();
    let mut client = ClientConnection::new(Arc::clone(client), SNI.try_into().unwrap()).unwrap();
    let mut times = [start.elapsed(), Duration::ZERO];
    let start = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    times[1] += start.elapsed();
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server, &mut times);
        times.reverse();
        pass(&mut server, &mut client, &mut times);
        times.reverse();
    }
    times
}

/// Moves bytes; adds the sender's time to the first, the receiver's to the second.
fn pass<A, B, S, T>(from: &mut A, to: &mut B, times: &mut [Duration; 2])
where
    A: DerefMut<Target = ConnectionCommon<S>>,
    B: DerefMut<Target = ConnectionCommon<T>>,
{
    let mut wire = Vec::new();
    let start = Instant::now();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    times[0] += start.elapsed();
    let mut wire = wire.as_slice();
    let start = Instant::now();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets().unwrap();
    }
    times[1] += start.elapsed();
}

fn handshakes(criterion: &mut Criterion) {
    let [client, server] = certificates([PRODUCTPAGE, REVIEWS]);
    let only =
        |id: &str| -> SpiffeIdSet { std::iter::once(id.parse::<SpiffeId>().unwrap()).collect() };
    let alpn = [ALPN_ISTIO_HTTP11];
    let (required, any) = (ClientAuth::Required, SpiffeIdSet::empty());
    criterion.bench_function("tls/server configuration", |bencher| {
        bencher.iter(|| tls::server_config(&server, required, &any, &alpn).unwrap());
    });
    let client = tls::client_config(&client, &only(REVIEWS), &alpn).unwrap();
    let server = tls::server_config(&server, required, &any, &alpn).unwrap();
    for (side, name) in ["tls/connect", "tls/accept"].into_iter().enumerate() {
        criterion.bench_function(name, |bencher| {
            bencher
                .iter_custom(|count| (0..count).map(|_| handshake(&client, &server)[side]).sum());
        });
    }
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
