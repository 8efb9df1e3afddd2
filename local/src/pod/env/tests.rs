use super::*;
use serde_json::json;

struct Fake;

impl Lookup for Fake {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, String>> {
        (name == "settings").then(|| [("level".to_owned(), "debug".to_owned())].into())
    }
    fn secret(&self, _: &str) -> Option<BTreeMap<String, String>> {
        None
    }
    fn field(&self, path: &str) -> Result<String, String> {
        match path {
            "metadata.name" => Ok("web-1".to_owned()),
            other => Err(format!("unknown field {other}")),
        }
    }
    fn resource(&self, container: &str, resource: &str, _: &str) -> Result<String, String> {
        Ok(format!("{container}/{resource}"))
    }
}

fn container(value: serde_json::Value) -> Container {
    serde_json::from_value(value).unwrap()
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn expands_as_kubernetes_does() {
    let known = variables(&[("A", "1"), ("B", "$(A)")]);
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$$(A)", "$(A)"),
        ("$(missing)", "$(missing)"),
        ("$(B)", "$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("ü$(A)ü", "ü1ü"),
    ] {
        assert_eq!(expand(text, &known), expected, "{text}");
    }
}

#[test]
fn later_sources_win_and_earlier_variables_can_be_used() {
    let container = container(json!({
        "name": "app",
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "CFG_"}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "URL", "value": "http://$(NAME).$(CFG_level):$(WEB_SERVICE_PORT)"},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "WEB_SERVICE_HOST", "value": "own"},
        ],
    }));
    let services = variables(&[
        ("WEB_SERVICE_PORT", "80"),
        ("WEB_SERVICE_HOST", "10.96.0.7"),
    ]);
    let built = build(&container, &services, &Fake).unwrap();
    assert_eq!(built["URL"], "http://web-1.debug:80");
    assert_eq!(built["CPU"], "app/limits.cpu");
    assert_eq!(built["WEB_SERVICE_HOST"], "own");
}

#[test]
fn missing_references_are_named_unless_optional() {
    let missing = |optional: bool| {
        container(
            json!({"name": "app", "env": [{"name": "PASSWORD", "valueFrom":
            {"secretKeyRef": {"name": "db", "key": "password", "optional": optional}}}]}),
        )
    };
    let error = build(&missing(false), &BTreeMap::new(), &Fake).unwrap_err();
    assert_eq!(error, "Secret db does not exist (env PASSWORD)");
    assert!(
        build(&missing(true), &BTreeMap::new(), &Fake)
            .unwrap()
            .is_empty()
    );
}
