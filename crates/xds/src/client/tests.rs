//! What a client makes of single responses; whole conversations are in `tests/converge.rs`.

use super::*;
use crate::any::pack;
use crate::envoy::config::cluster::v3::Cluster;
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
use crate::type_url::{CLUSTER, ENDPOINT};

fn node() -> Node {
    Node {
        id: "sidecar~10.244.0.2~a.default~default.svc.cluster.local".to_owned(),
        ..Node::default()
    }
}

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        ..Cluster::default()
    }
}

fn delta_response(names: &[&str], nonce: &str) -> DeltaDiscoveryResponse {
    let resource = |name: &&str| Resource {
        name: (*name).to_owned(),
        version: "1".to_owned(),
        resource: Some(pack(&cluster(name))),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        type_url: CLUSTER.to_owned(),
        nonce: nonce.to_owned(),
        resources: names.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[test]
fn only_the_first_request_bears_the_node() {
    let mut client = DeltaClient::new(node());
    client.subscribe_all(CLUSTER);
    client.subscribe(ENDPOINT, ["a".to_owned()].into());
    let requests = client.connect();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].node.is_some() && requests[1].node.is_none());
}

#[test]
fn a_partial_refusal_names_the_refused_and_keeps_the_rest() {
    let mut client = DeltaClient::new(node());
    client.subscribe_all(CLUSTER);
    let update = client
        .receive(delta_response(&["good", "bad"], "n1"))
        .unwrap();
    let rejected = Rejection {
        name: "bad".to_owned(),
        reason: "unknown filter x".to_owned(),
    };
    let answer = client.finish(&update, &[rejected]);
    assert_eq!(answer.response_nonce, "n1");
    assert_eq!(
        answer.error_detail.unwrap().message,
        "bad: unknown filter x"
    );
    assert_eq!(
        client.applied(CLUSTER).unwrap().keys().collect::<Vec<_>>(),
        ["good"]
    );
    assert_eq!(client.connect()[0].initial_resource_versions.len(), 1);
}

#[test]
fn what_breaks_the_protocol_is_an_error() {
    let mut client = DeltaClient::new(node());
    let unsolicited = client.receive(delta_response(&["a"], "n1"));
    assert!(matches!(
        unsolicited,
        Err(ProtocolError::Unsolicited { .. })
    ));
    client.subscribe_all(CLUSTER);
    let no_nonce = client.receive(delta_response(&["a"], ""));
    assert!(matches!(no_nonce, Err(ProtocolError::NoNonce { .. })));
    let mut response = delta_response(&["a"], "n1");
    response.resources[0].resource = None;
    assert!(matches!(
        client.receive(response),
        Err(ProtocolError::Unreadable { index: 0, .. })
    ));
    let mut response = delta_response(&["a"], "n1");
    response.resources[0].resource = Some(pack(&node()));
    assert!(matches!(
        client.receive(response),
        Err(ProtocolError::MixedTypes { .. })
    ));
}

#[test]
fn sotw_reads_wrapped_resources_and_removes_what_a_whole_set_lacks() {
    let mut client = SotwClient::new(node());
    client.subscribe_all(CLUSTER);
    let wrapped = Resource {
        name: "b".to_owned(),
        resource: Some(pack(&cluster("b"))),
        ..Resource::default()
    };
    let update = client
        .receive(DiscoveryResponse {
            type_url: CLUSTER.to_owned(),
            version_info: "v1".to_owned(),
            nonce: "1".to_owned(),
            resources: vec![pack(&cluster("a")), pack(&wrapped)],
            ..DiscoveryResponse::default()
        })
        .unwrap();
    assert_eq!(update.changed.len(), 2);
    assert_eq!(client.finish(&update, &[]).version_info, "v1");

    let update = client
        .receive(DiscoveryResponse {
            type_url: CLUSTER.to_owned(),
            version_info: "v2".to_owned(),
            nonce: "2".to_owned(),
            resources: vec![pack(&cluster("b"))],
            ..DiscoveryResponse::default()
        })
        .unwrap();
    assert_eq!(
        (update.changed.len(), update.removed.as_slice()),
        (0, ["a".to_owned()].as_slice())
    );
    let rejected = Rejection {
        name: "b".to_owned(),
        reason: "no".to_owned(),
    };
    let nack = client.finish(&update, &[rejected]);
    assert_eq!(
        (nack.version_info.as_str(), nack.response_nonce.as_str()),
        ("v1", "2")
    );
}
