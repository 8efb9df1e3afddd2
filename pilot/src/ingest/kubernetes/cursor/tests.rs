//! Recorded sequences of answers; nothing is asked.

use serde_json::json;

use super::*;

fn object(name: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
}

fn event(kind: &str, name: &str, version: u64) -> WatchEvent<Value> {
    event_of(kind, object(name, version))
}

fn event_of(kind: &str, object: Value) -> WatchEvent<Value> {
    serde_json::from_value(json!({"type": kind, "object": object})).unwrap()
}

fn bookmark(version: u64, annotations: Value) -> WatchEvent<Value> {
    let meta = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    event_of(
        "BOOKMARK",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta}),
    )
}

/// A cursor behind a list in one part, at this version.
fn listed(version: u64) -> Cursor {
    let mut cursor = Cursor::new();
    cursor.no_streams();
    cursor.page(Vec::new(), version.to_string(), None);
    cursor
}

#[test]
fn a_streamed_list_ends_with_its_bookmark() {
    let mut cursor = Cursor::new();
    assert_eq!(cursor.ask(), Ask::Stream);
    assert_eq!(cursor.streaming(), Told::Listing);
    let added = cursor.event(event("ADDED", "a", 5)).unwrap();
    assert_eq!(added, Some(Told::Set(object("a", 5))));
    // An ordinary bookmark doesn't end it.
    assert_eq!(cursor.event(bookmark(6, json!({}))).unwrap(), None);
    let end = json!({"k8s.io/initial-events-end": "true"});
    assert_eq!(cursor.event(bookmark(7, end)).unwrap(), Some(Told::Listed));
    assert_eq!(cursor.ask(), Ask::Watch("7".to_owned()));
}

#[test]
fn a_streamed_list_that_breaks_off_begins_anew() {
    let mut cursor = Cursor::new();
    cursor.streaming();
    cursor.event(event("ADDED", "a", 5)).unwrap();
    cursor.interrupted();
    assert_eq!(cursor.ask(), Ask::Stream);
}

#[test]
fn a_list_comes_in_parts_where_the_server_streams_none() {
    let mut cursor = Cursor::new();
    cursor.no_streams();
    assert_eq!(cursor.ask(), Ask::Page(None));
    let told = cursor.page(
        vec![object("a", 1)],
        "9".to_owned(),
        Some("more".to_owned()),
    );
    assert_eq!(told, [Told::Listing, Told::Set(object("a", 1))]);
    // A part that fails is asked for again.
    cursor.interrupted();
    assert_eq!(cursor.ask(), Ask::Page(Some("more".to_owned())));
    let told = cursor.page(vec![object("b", 2)], "9".to_owned(), None);
    assert_eq!(told, [Told::Set(object("b", 2)), Told::Listed]);
    assert_eq!(cursor.ask(), Ask::Watch("9".to_owned()));
}

#[test]
fn an_interrupted_watch_goes_on_from_where_it_stood() {
    let mut cursor = listed(10);
    cursor.event(event("MODIFIED", "a", 12)).unwrap();
    let gone = cursor.event(event("DELETED", "a", 13)).unwrap();
    assert_eq!(gone, Some(Told::Gone(object("a", 13))));
    cursor.event(bookmark(20, json!({}))).unwrap();
    cursor.interrupted();
    assert_eq!(cursor.ask(), Ask::Version);
    // It may fail as often as it will.
    cursor.interrupted();
    assert_eq!(cursor.ask(), Ask::Version);
    cursor.server_at("25");
    assert_eq!(cursor.ask(), Ask::Watch("20".to_owned()));
}

#[test]
fn a_server_that_was_set_back_is_listed_anew() {
    let mut cursor = listed(20);
    cursor.interrupted();
    cursor.server_at("19");
    assert_eq!(cursor.ask(), Ask::Page(None));
}

#[test]
fn versions_are_compared_as_numbers_and_only_if_they_are_some() {
    assert!(older("9", "10"));
    assert!(!older("10", "10"));
    assert!(!older("x1", "10"));
    assert!(!older("", "10"));
}

#[test]
fn an_error_is_the_callers_to_judge_and_an_expired_version_lists_anew() {
    let mut cursor = listed(20);
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 20 (99)", "reason": "Expired", "code": 410
    });
    let error = cursor.event(event_of("ERROR", status)).unwrap_err();
    assert_eq!(error.code, 410);
    cursor.expired();
    assert_eq!(cursor.ask(), Ask::Page(None));
}
