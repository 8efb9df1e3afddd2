use super::*;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: web}
";

#[test]
fn documents_are_independent() {
    let text =
        format!("{DEPLOYMENT}---\n{{ not yaml\n--- # comment\nkind: Service\n---\n{DEPLOYMENT}");
    let decoded = decode(&text, "a.yaml", "default");
    assert_eq!(decoded.manifests.len(), 2);
    assert_eq!(decoded.errors.len(), 2, "{:?}", decoded.errors);
    assert!(
        decoded.errors[0].starts_with("a.yaml:13: not YAML"),
        "{}",
        decoded.errors[0]
    );
    assert!(
        decoded.errors[1].starts_with("a.yaml:15: apiVersion:"),
        "{}",
        decoded.errors[1]
    );
}

#[test]
fn lists_are_taken_apart_and_namespaces_filled_in() {
    let text = "{apiVersion: v1, kind: List, items: [
        {apiVersion: v1, kind: Namespace, metadata: {name: a}},
        {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {x: y}}]}";
    let decoded = decode(text, "l.yaml", "shop");
    let keys: Vec<String> = decoded
        .manifests
        .iter()
        .map(|manifest| manifest.key.to_string())
        .collect();
    assert_eq!(keys, ["Namespace a", "ConfigMap shop/b"]);
    assert_eq!(decoded.manifests[1].value["metadata"]["namespace"], "shop");
}

#[test]
fn unknown_kinds_are_warned_of_by_name() {
    let text = "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}}";
    let decoded = decode(text, "c.yaml", "default");
    assert!(decoded.errors.is_empty());
    assert!(
        decoded.warnings[0].contains("CronJob nightly"),
        "{:?}",
        decoded.warnings
    );
}

#[test]
fn wrong_and_unknown_fields_are_named_with_their_paths() {
    let wrong = DEPLOYMENT.replace("name: web, image: web", "name: web, image: [1]");
    let error = &decode(&wrong, "d.yaml", "default").errors[0];
    assert!(
        error.contains("Deployment default/web: spec.template.spec.containers[0].image"),
        "{error}"
    );
    let unknown = DEPLOYMENT.replace("image: web", "image: web, readyProbe: {}");
    let error = &decode(&unknown, "d.yaml", "default").errors[0];
    assert!(
        error.contains("spec.template.spec.containers[0].readyProbe: unknown field"),
        "{error}"
    );
}

#[test]
fn names_cannot_leave_the_directory() {
    let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ../../x}}";
    assert!(decode(text, "x", "default").errors[0].contains("not a valid name"));
}
