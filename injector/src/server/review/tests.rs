use serde_json::json;

use super::*;

fn review(version: &str) -> Vec<u8> {
    let request = json!({
        "uid": "7",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "object": {"kind": "Pod"},
        "dryRun": true,
    });
    let review = json!({"apiVersion": version, "kind": "AdmissionReview", "request": request});
    review.to_string().into_bytes()
}

#[test]
fn version_1_is_read() {
    let review = Review::read(&review("admission.k8s.io/v1")).unwrap();
    assert_eq!(
        (review.uid.as_str(), review.kind.kind.as_str()),
        ("7", "Pod")
    );
    assert_eq!(review.object, json!({"kind": "Pod"}));
}

#[test]
fn what_is_no_review_is_refused_in_words() {
    let error = |body: &[u8]| Review::read(body).unwrap_err();
    assert_eq!(
        error(&review("admission.k8s.io/v1beta1")),
        "AdmissionReview of version \"admission.k8s.io/v1beta1\" is not taken; \
         set admissionReviewVersions: [v1] in the webhook's configuration"
    );
    assert_eq!(
        error(br#"{"kind": "Pod"}"#),
        "the body is not an AdmissionReview (its kind is \"Pod\")"
    );
    let empty = br#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}"#;
    assert_eq!(error(empty), "the AdmissionReview has no request");
    assert!(error(b"pod").starts_with("the body is not an AdmissionReview in JSON: "));
    assert!(error(b"").starts_with("the body is not an AdmissionReview in JSON: "));
}

#[test]
fn an_answer_repeats_the_uid() {
    let allowed = Answer::allow().to_json("7")["response"].clone();
    assert_eq!(allowed, json!({"uid": "7", "allowed": true}));
    let denied = Answer::deny("no".to_owned()).to_json("8")["response"].clone();
    assert_eq!(
        (&denied["allowed"], &denied["uid"]),
        (&json!(false), &json!("8"))
    );
    assert_eq!(denied["status"]["message"], "no");
    assert_eq!(denied["status"]["code"], 400);
}

#[test]
fn a_patch_is_in_base64() {
    let patch = json_patch::diff(&json!({}), &json!({"a": 1}));
    let answer = Answer::patch(patch).to_json("7")["response"].clone();
    assert_eq!(answer["patchType"], "JSONPatch");
    let text = BASE64_STANDARD
        .decode(answer["patch"].as_str().unwrap())
        .unwrap();
    let ops: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(ops, json!([{"op": "add", "path": "/a", "value": 1}]));
}

#[test]
fn warnings_are_cut_to_what_the_api_server_takes() {
    let long = "é".repeat(1000);
    let many = (0..100).map(|_| format!("{long}\nx"));
    let answer = Answer::allow().warn(many).to_json("7");
    let warnings = answer["response"]["warnings"].as_array().unwrap().clone();
    assert_eq!(warnings.len(), WARNINGS_LIMIT);
    assert_eq!(
        warnings[0].as_str().unwrap().chars().count(),
        WARNING_LIMIT + 3
    );
}
