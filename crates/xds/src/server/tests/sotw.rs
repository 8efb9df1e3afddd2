//! Scripts of the state of the world.

use super::*;
use crate::envoy::service::discovery::v3::DiscoveryRequest;

fn request(type_url: &str, names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        version_info: version.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    }
}

#[test]
fn sotw_sends_clusters_whole_and_endpoints_in_part() {
    let mut session = SotwSession::new(1, Interner::default());
    let due = session.receive(&request(CLUSTER, &[], "", "")).due.unwrap();
    let first = send(
        &mut session,
        CLUSTER,
        &due,
        &resources(&["a=1", "b=1"]),
        "v1",
    )
    .unwrap();
    session.receive(&request(CLUSTER, &[], &first.version_info, &first.nonce));
    let scope = session.begin(CLUSTER, Scope::only(["a"])).unwrap();
    let second = send(
        &mut session,
        CLUSTER,
        &scope,
        &resources(&["a=2", "b=1"]),
        "v2",
    )
    .unwrap();
    assert_eq!(second.resources.len(), 2, "a whole set");

    let due = session
        .receive(&request(ENDPOINT, &["a", "b"], "", ""))
        .due
        .unwrap();
    let first = send(
        &mut session,
        ENDPOINT,
        &due,
        &resources(&["a=1", "b=1"]),
        "v2",
    )
    .unwrap();
    session.receive(&request(
        ENDPOINT,
        &["a", "b"],
        &first.version_info,
        &first.nonce,
    ));
    let scope = session.begin(ENDPOINT, Scope::All).unwrap();
    let second = send(
        &mut session,
        ENDPOINT,
        &scope,
        &resources(&["a=2", "b=1"]),
        "v3",
    )
    .unwrap();
    assert_eq!(second.resources.len(), 1, "only what changed");
}

#[test]
fn sotw_tells_of_the_last_removal_with_an_empty_set() {
    let mut session = SotwSession::new(1, Interner::default());
    let due = session.receive(&request(CLUSTER, &[], "", "")).due.unwrap();
    let first = send(&mut session, CLUSTER, &due, &resources(&["a=1"]), "v1").unwrap();
    session.receive(&request(CLUSTER, &[], &first.version_info, &first.nonce));
    let scope = session.begin(CLUSTER, Scope::All).unwrap();
    assert!(
        send(&mut session, CLUSTER, &scope, &[], "v2")
            .unwrap()
            .resources
            .is_empty()
    );
}

#[test]
fn sotw_resumes_from_an_equal_version() {
    let mut session = SotwSession::new(1, Interner::default());
    let due = session.receive(&request(CLUSTER, &[], "", "")).due.unwrap();
    let first = send(
        &mut session,
        CLUSTER,
        &due,
        &resources(&["a=1", "b=1"]),
        "v1",
    )
    .unwrap();

    let mut resumed = SotwSession::new(2, Interner::default());
    let due = resumed
        .receive(&request(CLUSTER, &[], &first.version_info, ""))
        .due
        .unwrap();
    assert_eq!(
        send(
            &mut resumed,
            CLUSTER,
            &due,
            &resources(&["a=1", "b=1"]),
            "v1"
        ),
        None
    );
    assert_eq!(resumed.status(CLUSTER).state, SyncState::Synced);
    let scope = resumed.begin(CLUSTER, Scope::All).unwrap();
    assert!(send(&mut resumed, CLUSTER, &scope, &resources(&["b=1"]), "v2").is_some());
}

#[test]
fn sotw_ignores_a_stale_nonce_and_records_a_refusal() {
    let mut session = SotwSession::new(1, Interner::default());
    let due = session
        .receive(&request(ENDPOINT, &["a"], "", ""))
        .due
        .unwrap();
    let first = send(&mut session, ENDPOINT, &due, &resources(&["a=1"]), "v1").unwrap();
    let early = session.receive(&request(ENDPOINT, &["a", "b"], "", ""));
    assert_eq!((early.verdict, early.due), (Verdict::Stale, None));

    let mut nack = request(ENDPOINT, &["a", "b"], "", &first.nonce);
    nack.error_detail = Some(Status::default());
    let received = session.receive(&nack);
    assert!(matches!(received.verdict, Verdict::Nack(_)));
    assert_eq!(received.due, Some(Scope::only(["b"])));
}
