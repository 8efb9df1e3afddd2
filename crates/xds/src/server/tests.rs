//! Scripts: requests in, responses out.

mod sotw;

use std::collections::BTreeMap;

use prost::Message;

use super::*;
use crate::envoy::config::endpoint::v3::ClusterLoadAssignment;
use crate::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse,
};
use crate::type_url::{CLUSTER, ENDPOINT};

/// Responses as clients read them.
trait Responds: Session {
    type Response: Message + Default;
}

impl Responds for DeltaSession {
    type Response = DeltaDiscoveryResponse;
}

impl Responds for SotwSession {
    type Response = DiscoveryResponse;
}

/// Resources by name; `a=1` has name `a` and content that depends on `1`.
fn resources(specs: &[&str]) -> Vec<EncodedResource> {
    let one = |spec: &&str| {
        let (name, content) = spec.split_once('=').unwrap();
        let message = ClusterLoadAssignment {
            cluster_name: format!("{name}{content}"),
            ..ClusterLoadAssignment::default()
        };
        EncodedResource::new(name, &message)
    };
    specs.iter().map(one).collect()
}

fn version(spec: &str) -> String {
    resources(&[spec])[0].version().to_string()
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

fn send<S: Responds>(
    session: &mut S,
    type_url: &str,
    scope: &Scope,
    resources: &[EncodedResource],
    version: &str,
) -> Option<S::Response> {
    session
        .send(type_url, scope, resources, version)
        .map(|outgoing| S::Response::decode(outgoing.response.to_bytes()).unwrap())
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
    let mut session = DeltaSession::new(1, Interner::default());
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
    let mut session = DeltaSession::new(1, Interner::default());
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

    let mut session = DeltaSession::new(1, Interner::default());
    let response = exchange(&mut session, &request, &["a=1", "b=1"]).unwrap();
    assert_eq!(names(&response), ["b"]);
    assert_eq!(response.removed_resources, ["gone"]);

    request.initial_resource_versions = BTreeMap::from([("a".to_owned(), version("a=1"))]);
    let mut session = DeltaSession::new(2, Interner::default());
    assert_eq!(exchange(&mut session, &request, &["a=1"]), None);
    assert_eq!(session.status(CLUSTER).state, SyncState::Synced);
}

#[test]
fn a_named_resource_that_does_not_exist_is_said_to_be_removed() {
    let mut session = DeltaSession::new(1, Interner::default());
    let response = exchange(&mut session, &subscribe(ENDPOINT, &["a", "no"]), &["a=1"]).unwrap();
    assert_eq!(names(&response), ["a"]);
    assert_eq!(response.removed_resources, ["no"]);
}

#[test]
fn names_that_nobody_asked_for_are_not_sent() {
    let mut session = DeltaSession::new(1, Interner::default());
    let first = exchange(&mut session, &subscribe(ENDPOINT, &["a"]), &["a=1", "b=1"]).unwrap();
    assert_eq!(names(&first), ["a"]);
    session.receive(&ack(&first));
    assert_eq!(session.begin(ENDPOINT, Scope::only(["b"])), None);
    assert_eq!(session.begin(CLUSTER, Scope::All), None);
}

#[test]
fn asking_again_sends_again_and_unsubscribing_ends_it() {
    let mut session = DeltaSession::new(1, Interner::default());
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
    let mut session = DeltaSession::new(1, Interner::default());
    let first = exchange(&mut session, &subscribe(CLUSTER, &[]), &["a=1", "b=1"]).unwrap();
    let only = |name: &str| Scope::only([name]);
    assert_eq!(session.begin(CLUSTER, only("a")), None);
    assert_eq!(session.begin(CLUSTER, only("b")), None);

    let received = session.receive(&ack(&first));
    let due = received.due.unwrap();
    assert_eq!(due, Scope::only(["a", "b"]));
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
    let mut session = DeltaSession::new(1, Interner::default());
    let first = exchange(
        &mut session,
        &subscribe(ENDPOINT, &["a", "b"]),
        &["a=1", "b=1"],
    )
    .unwrap();
    session.receive(&ack(&first));
    let scope = session.begin(ENDPOINT, Scope::only(["a"])).unwrap();
    let second = send(&mut session, ENDPOINT, &scope, &resources(&["a=2"]), "v2").unwrap();
    assert_eq!(
        (names(&second), second.removed_resources.len()),
        (vec!["a"], 0)
    );
}

#[test]
fn a_refusal_is_kept_and_not_repeated_until_something_better_comes() {
    let mut session = DeltaSession::new(1, Interner::default());
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
    let mut session = DeltaSession::new(1, Interner::default());
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
    let mut session = DeltaSession::new(1, Interner::default());
    let first = exchange(
        &mut session,
        &subscribe(ENDPOINT, &["a", "b"]),
        &["a=1", "b=1"],
    )
    .unwrap();
    session.receive(&ack(&first));
    let wanted = ["a".into(), "never-asked".into()];
    let scope = session.renew(ENDPOINT, &wanted).unwrap();
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

#[test]
fn what_is_asked_for_by_name_comes_in_parts_one_after_the_other() {
    let large = "x".repeat(PART_BYTES / 2);
    let specs = ["a", "b", "c"].map(|name| format!("{name}={large}"));
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let mut session = DeltaSession::new(1, Interner::default());
    let request = subscribe(ENDPOINT, &["a", "b", "c", "no"]);
    let first = exchange(&mut session, &request, &specs).unwrap();
    assert_eq!(
        (names(&first), first.removed_resources.as_slice()),
        (vec!["a"], &["no".to_owned()][..])
    );
    // What changes meanwhile goes with the rest.
    assert_eq!(session.begin(ENDPOINT, Scope::only(["a"])), None);

    let received = session.receive(&ack(&first));
    assert_eq!(received.due, Some(Scope::only(["a", "b", "c"])));
    assert_eq!(
        session.status(ENDPOINT).state,
        SyncState::Stale,
        "not all is there"
    );
    assert_eq!(session.status(ENDPOINT).acked, None);
    let due = received.due.unwrap();
    let second = send(&mut session, ENDPOINT, &due, &resources(&specs), "v").unwrap();
    assert_eq!(names(&second), ["b"]);
    let third = exchange(&mut session, &ack(&second), &specs).unwrap();
    assert_eq!(names(&third), ["c"]);
    assert_eq!(exchange(&mut session, &ack(&third), &specs), None);
    assert_eq!(session.status(ENDPOINT).state, SyncState::Synced);
    assert_eq!(push(&mut session, ENDPOINT, &specs), None);

    let mut session = DeltaSession::new(2, Interner::default());
    let whole = exchange(&mut session, &subscribe(CLUSTER, &[]), &specs).unwrap();
    assert_eq!(
        names(&whole),
        ["a", "b", "c"],
        "clusters are never half there"
    );
}

#[test]
fn sessions_share_what_they_remember_alike() {
    let interner = Interner::default();
    let names: Vec<String> = (100..200).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let specs: Vec<String> = names.iter().map(|name| format!("{name}=1")).collect();
    let mut specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let mut sessions = [1, 2].map(|id| DeltaSession::new(id, interner.clone()));
    let mut last = Vec::new();
    for session in &mut sessions {
        last.push(exchange(session, &subscribe(ENDPOINT, &names), &specs).unwrap());
    }
    let subscribed = sessions
        .each_ref()
        .map(|one| one.subscription(ENDPOINT).unwrap());
    assert!(Arc::ptr_eq(&subscribed[0].names, &subscribed[1].names));

    // What comes later is told apart from what is shared, and becomes part of it again.
    for (at, number) in (0..60).enumerate() {
        let spec = format!("{}=2", 100 + number);
        specs[at] = &*spec.leak();
        for (session, last) in sessions.iter_mut().zip(&mut last) {
            session.receive(&ack(last));
            *last = push(session, ENDPOINT, &specs).unwrap();
            assert_eq!(names.len(), session.status(ENDPOINT).resources);
            assert_eq!(last.resources.len(), 1);
        }
    }
    let mut request = ack(&last[0]);
    request.resource_names_unsubscribe = vec!["100".to_owned()];
    assert_eq!(exchange(&mut sessions[0], &request, &specs), None);
    assert_eq!(push(&mut sessions[0], ENDPOINT, &specs), None);
    assert_eq!(sessions[0].status(ENDPOINT).resources, names.len() - 1);
    assert_eq!(sessions[1].status(ENDPOINT).resources, names.len());
}
