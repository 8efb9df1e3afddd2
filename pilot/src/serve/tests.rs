//! What needs no stream; conversations are in `tests/serve.rs`.

use mesh_identity::TrustDomain;
use mesh_xds::envoy::config::core::v3::Node;
use tonic::Code;

use super::*;

fn proxy(pod: &str, namespace: &str, account: &str) -> Proxy {
    let node = Node {
        id: format!("sidecar~10.244.0.9~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        ..Node::default()
    };
    let mut proxy = Proxy::from_node(&node).unwrap();
    account.clone_into(&mut proxy.service_account);
    proxy
}

fn identity(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::service_account(&TrustDomain::default(), namespace, account).unwrap()
}

#[test]
fn an_identity_may_ask_for_its_own_namespace_and_account_only() {
    let ask = |identity: &SpiffeId, proxy: &Proxy, domain: &str| {
        authorize(identity, proxy, domain).map_err(|status| status.code())
    };
    let reviews = identity("default", "reviews");
    assert_eq!(
        ask(&reviews, &proxy("a", "default", "reviews"), "cluster.local"),
        Ok(())
    );
    assert_eq!(
        ask(&reviews, &proxy("a", "default", ""), "cluster.local"),
        Ok(())
    );
    let denied = Err(Code::PermissionDenied);
    assert_eq!(
        ask(&reviews, &proxy("a", "other", "reviews"), "cluster.local"),
        denied
    );
    assert_eq!(
        ask(&reviews, &proxy("a", "default", "ratings"), "cluster.local"),
        denied
    );
    assert_eq!(
        ask(&reviews, &proxy("a", "default", "reviews"), "example.org"),
        denied
    );
}

#[test]
fn a_connection_is_found_by_pod_while_it_lasts() {
    let connections = Connections::default();
    let one = Arc::new(proxy("reviews-v1-0", "default", ""));
    let registration = connections.register(1, one, Variant::Delta, None);
    for name in ["reviews-v1-0", "reviews-v1-0.default"] {
        assert!(connections.find(name).is_some(), "{name}");
    }
    assert!(connections.find("reviews-v1-0.other").is_none());
    assert!(connections.find("reviews-v1").is_none());
    assert_eq!(connections.status()[0].clusters.status, Sync::NotSent);
    drop(registration);
    assert!(connections.is_empty());
}
