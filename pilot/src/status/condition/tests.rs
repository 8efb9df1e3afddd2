//! Times are arguments.

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn refused() -> Verdict {
    Verdict::new(&["spec.hosts: required, but missing".to_owned()], &[])
}

/// The object as the server has it after a patch.
fn patched(mut object: Value, verdict: &Verdict, now: &str) -> Value {
    object["status"] = verdict.patch(&object, time(now))["status"].take();
    object
}

fn object() -> Value {
    let theirs = json!({"type": "Theirs", "status": "True", "lastProbeTime": "x"});
    json!({
        "metadata": {"generation": 3, "resourceVersion": "7"},
        "status": {"conditions": [theirs], "extra": 1},
    })
}

#[test]
fn what_was_written_reads_back_as_the_same() {
    let verdict = refused();
    let object = patched(object(), &verdict, "2026-11-21T10:00:00Z");
    assert_eq!(digest_of(&object["status"]), Some(verdict.digest(Some(3))));
    assert_ne!(digest_of(&object["status"]), Some(verdict.digest(Some(4))));
    assert_eq!(digest_of(&json!({"conditions": []})), None);
}

#[test]
fn conditions_of_others_stay_and_versions_guard_them() {
    let patch = refused().patch(&object(), time("2026-11-21T10:00:00Z"));
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions[0]["type"], "Theirs");
    assert_eq!(
        conditions[1],
        json!({
            "type": "Reconciled", "status": "False", "reason": "Invalid",
            "message": "spec.hosts: required, but missing",
            "lastTransitionTime": "2026-11-21T10:00:00Z", "observedGeneration": 3,
        })
    );
}

#[test]
fn the_transition_time_is_that_of_the_last_change_between_true_and_false() {
    let first = patched(object(), &refused(), "2026-11-21T10:00:00Z");
    let other = Verdict::new(&["spec.http: wrong".to_owned()], &[]);
    let second = patched(first, &other, "2026-11-21T11:00:00Z");
    let time_of = |object: &Value| object["status"]["conditions"][1]["lastTransitionTime"].clone();
    assert_eq!(time_of(&second), "2026-11-21T10:00:00Z");
    let third = patched(second, &Verdict::new(&[], &[]), "2026-11-21T12:00:00Z");
    assert_eq!(time_of(&third), "2026-11-21T12:00:00Z");
}

#[test]
fn a_message_is_cut_at_a_character() {
    let verdict = Verdict::new(&["ü".repeat(MESSAGE_BYTES)], &[]);
    assert!(verdict.message.len() <= MESSAGE_BYTES + 4);
    assert!(verdict.message.ends_with("ü ..."));
}
