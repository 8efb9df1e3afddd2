//! A gateway, its credential, and proxies that ask for it.

use std::collections::BTreeMap;

use mesh_pilot::model::{Labels, Locality};
use mesh_pilot::translate::{Proxy, ProxyKind};
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};

/// A gateway of the routers labelled `edge` that shows the credential `shop`.
pub(crate) fn gateway() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"selector": {"istio": "edge"}, "servers": [{
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["shop.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": "shop"},
        }]},
    })
}

/// A pod of that gateway.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": "default", "labels": {"istio": "edge"}},
        "spec": {"containers": [{"name": "proxy", "image": "none"}]},
    })
}

/// A certificate of its host.
pub(crate) fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec!["shop.example.com".to_owned()]).unwrap()
}

/// The credential.
pub(crate) fn secret(made: &CertifiedKey<KeyPair>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "shop", "namespace": "default"},
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()},
    })
}

/// A proxy in namespace `default`; one of the gateway's, if it is a router.
pub(crate) fn proxy(kind: ProxyKind) -> Proxy {
    Proxy {
        id: "p.default".to_owned(),
        kind,
        ip: [10, 244, 9, 9].into(),
        pod: "p".to_owned(),
        namespace: "default".to_owned(),
        dns_domain: "default.svc.cluster.local".to_owned(),
        labels: Labels::from([("istio".to_owned(), "edge".to_owned())]),
        service_account: "default".to_owned(),
        workload: "p".to_owned(),
        locality: Locality::default(),
        metadata: BTreeMap::new(),
    }
}
