//! Scripts: requests in, responses out.

use std::collections::BTreeMap;

use super::*;
use crate::envoy::config::endpoint::v3::ClusterLoadAssignment;
use crate::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use crate::type_url::{CLUSTER, ENDPOINT};

/// Resources by name; `a=1` has name `a` and content that depends on `1`.
fn resources(specs: &[&str]) -> Vec<NamedResource> {
    let one = |spec: &&str| {
        let (name, content) = spec.split_once('=').unwrap();
        let message = ClusterLoadAssignment {
            cluster_name: format!("{name}{content}"),
            ..ClusterLoadAssignment::default()
        };
        NamedResource::new(name, &message)
    };
    specs.iter().map(one).collect()
}

fn version(spec: &str) -> String {
    resources(&[spec])[0].version.clone()
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn send<S: Session>(
    session: &mut S,
    type_url: &str,
    scope: &Scope,
    resources: &[NamedResource],
    version: &str,
) -> Option<S::Response> {
    session
        .send(type_url, scope, resources, version)
        .map(|outgoing| outgoing.response)
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}

/// Receives and, if something is due, sends.
fn exchange(
    session: &mut DeltaSession,
    request: &DeltaDiscoveryRequest,
    existing: &[&str],
) -> Option<DeltaDiscoveryResponse> {
    let received = session.receive(request);
    send(
        session,
        &received.type_url,
        &received.due?,
        &resources(existing),
        "v",
    )
}

/// A push of everything.
fn push(
    session: &mut DeltaSession,
    type_url: &str,
    existing: &[&str],
) -> Option<DeltaDiscoveryResponse> {
    let scope = session.begin(type_url, Scope::All)?;
    send(session, type_url, &scope, &resources(existing), "v")
}

#[test]
fn wildcard_gets_everything_then_only_differences() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(CLUSTER, &[]), &["a=1", "b=1"]).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(session.status(CLUSTER).state, SyncState::Stale);
    assert_eq!(session.receive(&ack(&first)).verdict, Verdict::Ack);
    assert_eq!(session.status(CLUSTER).state, SyncState::Synced);

    assert_eq!(push(&mut session, CLUSTER, &["a=1", "b=1"]), None);
    let second = push(&mut session, CLUSTER, &["a=2", "c=1"]).unwrap();
    assert_eq!(names(&second), ["a", "c"]);
    assert_eq!(second.removed_resources, ["b"]);
}

#[test]
fn an_empty_wildcard_gets_its_first_response_once() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(CLUSTER, &[]), &[]).unwrap();
    assert!(first.resources.is_empty());
    assert_eq!(exchange(&mut session, &ack(&first), &[]), None);
    assert_eq!(push(&mut session, CLUSTER, &[]), None);
}

#[test]
fn reconnect_with_known_versions_sends_only_what_differs() {
    let mut request = subscribe(CLUSTER, &[]);
    request.initial_resource_versions = BTreeMap::from([
        ("a".to_owned(), version("a=1")),
        ("gone".to_owned(), "x".to_owned()),
    ]);

    let mut session = DeltaSession::new(1);
    let response = exchange(&mut session, &request, &["a=1", "b=1"]).unwrap();
    assert_eq!(names(&response), ["b"]);
    assert_eq!(response.removed_resources, ["gone"]);

    request.initial_resource_versions = BTreeMap::from([("a".to_owned(), version("a=1"))]);
    let mut session = DeltaSession::new(2);
    assert_eq!(exchange(&mut session, &request, &["a=1"]), None);
    assert_eq!(session.status(CLUSTER).state, SyncState::Synced);
}

#[test]
fn a_named_resource_that_does_not_exist_is_said_to_be_removed() {
    let mut session = DeltaSession::new(1);
    let response = exchange(&mut session, &subscribe(ENDPOINT, &["a", "no"]), &["a=1"]).unwrap();
    assert_eq!(names(&response), ["a"]);
    assert_eq!(response.removed_resources, ["no"]);
}

#[test]
fn names_that_nobody_asked_for_are_not_sent() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(ENDPOINT, &["a"]), &["a=1", "b=1"]).unwrap();
    assert_eq!(names(&first), ["a"]);
    session.receive(&ack(&first));
    assert_eq!(
        session.begin(ENDPOINT, Scope::Only(["b".to_owned()].into())),
        None
    );
    assert_eq!(session.begin(CLUSTER, Scope::All), None);
}

#[test]
fn asking_again_sends_again_and_unsubscribing_ends_it() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(ENDPOINT, &["a"]), &["a=1"]).unwrap();
    session.receive(&ack(&first));
    let again = exchange(&mut session, &subscribe(ENDPOINT, &["a"]), &["a=1"]).unwrap();
    assert_eq!(names(&again), ["a"]);

    let mut request = ack(&again);
    request.resource_names_unsubscribe = vec!["a".to_owned()];
    assert_eq!(exchange(&mut session, &request, &["a=1"]), None);
    assert_eq!(push(&mut session, ENDPOINT, &["a=2"]), None);
}

#[test]
fn one_response_at_a_time_and_the_rest_merged() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(CLUSTER, &[]), &["a=1", "b=1"]).unwrap();
    let only = |name: &str| Scope::Only([name.to_owned()].into());
    assert_eq!(session.begin(CLUSTER, only("a")), None);
    assert_eq!(session.begin(CLUSTER, only("b")), None);

    let received = session.receive(&ack(&first));
    let due = received.due.unwrap();
    assert_eq!(due, Scope::Only(["a".to_owned(), "b".to_owned()].into()));
    let second = send(
        &mut session,
        CLUSTER,
        &due,
        &resources(&["a=2", "b=2"]),
        "v2",
    )
    .unwrap();
    assert_eq!(names(&second), ["a", "b"]);
}

#[test]
fn a_partial_update_does_not_remove_what_it_does_not_speak_of() {
    let mut session = DeltaSession::new(1);
    let first = exchange(
        &mut session,
        &subscribe(ENDPOINT, &["a", "b"]),
        &["a=1", "b=1"],
    )
    .unwrap();
    session.receive(&ack(&first));
    let scope = session
        .begin(ENDPOINT, Scope::Only(["a".to_owned()].into()))
        .unwrap();
    let second = send(&mut session, ENDPOINT, &scope, &resources(&["a=2"]), "v2").unwrap();
    assert_eq!(
        (names(&second), second.removed_resources.len()),
        (vec!["a"], 0)
    );
}

#[test]
fn a_refusal_is_kept_and_not_repeated_until_something_better_comes() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(CLUSTER, &[]), &["a=bad"]).unwrap();
    let mut nack = ack(&first);
    nack.error_detail = Some(Status {
        message: "a: no".to_owned(),
        ..Status::default()
    });
    assert_eq!(
        session.receive(&nack).verdict,
        Verdict::Nack("a: no".to_owned())
    );
    assert_eq!(session.status(CLUSTER).nack.unwrap().message, "a: no");

    assert_eq!(push(&mut session, CLUSTER, &["a=bad"]), None);
    assert_eq!(session.status(CLUSTER).state, SyncState::Stale);
    let better = push(&mut session, CLUSTER, &["a=good"]).unwrap();
    session.receive(&ack(&better));
    assert_eq!(session.status(CLUSTER).state, SyncState::Synced);
    assert_eq!(session.status(CLUSTER).nack, None);
}

#[test]
fn a_stale_nonce_changes_nothing_but_its_subscriptions_count() {
    let mut session = DeltaSession::new(1);
    let first = exchange(&mut session, &subscribe(ENDPOINT, &["a"]), &["a=1"]).unwrap();
    session.receive(&ack(&first));
    let second = push(&mut session, ENDPOINT, &["a=2"]).unwrap();

    let mut stale = ack(&first);
    stale.resource_names_subscribe = vec!["b".to_owned()];
    let received = session.receive(&stale);
    assert_eq!((received.verdict, received.due), (Verdict::Stale, None));
    let third = exchange(&mut session, &ack(&second), &["a=2", "b=1"]).unwrap();
    assert_eq!(names(&third), ["b"]);
}

#[test]
fn renewed_names_go_out_unchanged() {
    let mut session = DeltaSession::new(1);
    let first = exchange(
        &mut session,
        &subscribe(ENDPOINT, &["a", "b"]),
        &["a=1", "b=1"],
    )
    .unwrap();
    session.receive(&ack(&first));
    let wanted = ["a".to_owned(), "never-asked".to_owned()].into();
    let scope = session.renew(ENDPOINT, wanted).unwrap();
    let again = send(
        &mut session,
        ENDPOINT,
        &scope,
        &resources(&["a=1", "b=1"]),
        "v",
    )
    .unwrap();
    assert_eq!(names(&again), ["a"]);
}

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
    let mut session = SotwSession::new(1);
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
    let scope = session
        .begin(CLUSTER, Scope::Only(["a".to_owned()].into()))
        .unwrap();
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
    let mut session = SotwSession::new(1);
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
    let mut session = SotwSession::new(1);
    let due = session.receive(&request(CLUSTER, &[], "", "")).due.unwrap();
    let first = send(
        &mut session,
        CLUSTER,
        &due,
        &resources(&["a=1", "b=1"]),
        "v1",
    )
    .unwrap();

    let mut resumed = SotwSession::new(2);
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
    let mut session = SotwSession::new(1);
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
    assert_eq!(received.due, Some(Scope::Only(["b".to_owned()].into())));
}
