use proptest::prelude::*;

use super::super::*;
use crate::object::PlannedKind;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n";
const RULE: &str = "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: b}\nspec: {host: a}\n";

fn describe(result: &Result<Decoded, DecodeError>) -> String {
    match result {
        Ok(Decoded::Mesh(resource)) => resource.describe(),
        Ok(Decoded::Other(other)) => {
            format!("other {} {:?} {}", other.kind, other.namespace, other.name)
        }
        Err(error) => error.to_string(),
    }
}

fn all(text: &str) -> Vec<String> {
    documents(text, "f.yaml").iter().map(describe).collect()
}

#[test]
fn several_documents_of_any_kind() {
    let text = format!("# head\n---\n{SERVICE}---\n\n# nothing here\n---\n{RULE}...\n");
    assert_eq!(
        all(&text),
        [
            "other Service Some(\"shop\") a",
            "DestinationRule default/b"
        ]
    );
    assert_eq!(all(""), [""; 0]);
    assert_eq!(all("---\n---\nnull\n"), [""; 0]);
    assert_eq!(all(&text.replace('\n', "\r\n")).len(), 2);
}

#[test]
fn lists_are_taken_apart() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
        {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "b"}, "spec": {}}]}"#;
    assert_eq!(
        all(text),
        [
            "other Service None a",
            "f.yaml:1: DestinationRule default/b: spec.host: required, but missing; name the service"
        ]
    );
}

#[test]
fn an_error_is_about_one_document() {
    let text = format!("{SERVICE}---\na: [1\nb: 2\n---\n{RULE}");
    let found = all(&text);
    assert_eq!(found.len(), 3);
    assert!(
        found[1].starts_with("f.yaml:5: not valid YAML: line 6: "),
        "{}",
        found[1]
    );
    assert!(
        found[1].ends_with("; mind the indentation and quotes there"),
        "{}",
        found[1]
    );
    assert_eq!(found[2], "DestinationRule default/b");
}

#[test]
fn duplicate_keys_are_errors() {
    let found = all("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nkind: Pod\n");
    assert!(
        found[0].contains("duplicate entry with key \"kind\""),
        "{}",
        found[0]
    );
}

#[test]
fn what_an_object_starts_with() {
    let cases = [
        (
            "[1]",
            "f.yaml:1: not a Kubernetes object; write apiVersion, kind, metadata and spec",
        ),
        (
            "apiVersion: v1\nkind: Pod\n",
            "f.yaml:1: metadata.name: required, but missing; name the object",
        ),
        (
            "kind: Pod\nmetadata: {name: a}\n",
            "f.yaml:1: apiVersion: required, but missing; every object starts with apiVersion, kind and metadata",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: {name: a}\n",
            "f.yaml:1: VirtualServices default/a: kind: VirtualServices is not a kind of networking.istio.io; did you mean VirtualService?",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\n",
            "f.yaml:1: Gateway default/a: apiVersion: Gateway is not in group security.istio.io; write apiVersion: networking.istio.io/v1",
        ),
        (
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\n",
            "f.yaml:1: EnvoyFilter default/a: kind: EnvoyFilter is not implemented yet; remove the object; it has no effect",
        ),
        (
            "apiVersion: networking.istio.io/v2\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a}\n",
            "f.yaml:1: DestinationRule default/a: apiVersion: version v2 of DestinationRule is not known; use networking.istio.io/v1",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nhost: a\nspec: {host: a}\n",
            "f.yaml:1: DestinationRule default/a: host: unknown field; did you mean to indent it under spec?",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, labels: {v: 1}}\nspec: {host: a}\n",
            "f.yaml:1: metadata.labels[v]: expected a string, found the number 1; put it in quotes",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(all(text), [expected]);
    }
}

#[test]
fn other_gateways_are_not_ours() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n";
    assert_eq!(all(text), ["other Gateway None a"]);
}

#[test]
fn all_errors_of_an_object_come_at_once() {
    let text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: shop}\nspec:\n  hosts: a\n  subsets:\n  - lables: {v: v1}\n";
    assert_eq!(
        all(text),
        [
            "f.yaml:1: DestinationRule shop/a: spec.hosts: unknown field; did you mean \"host\"?\
          \n  also: spec.host: required, but missing; name the service\
          \n  also: spec.subsets[0].lables: unknown field; did you mean \"labels\"?\
          \n  also: spec.subsets[0].name: required, but missing; name the subset"
        ]
    );
}

#[test]
fn metadata_is_kept() {
    let text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: a\n  creationTimestamp: \"2026-01-02T03:04:05Z\"\n  annotations: {k: v}\n  generation: 3\nspec: {host: a}\nstatus: {x: 1}\n";
    let Ok(Decoded::Mesh(resource)) = &documents(text, "f")[0] else {
        panic!()
    };
    let meta = resource.meta();
    assert_eq!(
        meta.creation_timestamp.as_deref(),
        Some("2026-01-02T03:04:05Z")
    );
    assert_eq!(meta.annotations["k"], "v");
    assert_eq!(meta.generation, Some(3));
}

proptest! {
    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,200}") {
        documents(&text, "f");
    }

    #[test]
    fn any_spec_is_decoded_or_refused(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        field in prop::sample::select(vec![
            "hosts", "http", "tls", "tcp", "host", "servers", "ports", "endpoints", "egress", "rules",
            "subsets", "trafficPolicy", "mtls", "portLevelMtls", "selector", "exportTo", "address",
        ]),
        value in "(\\[\\{\\}\\]|\\[null\\]|\\{a: 1\\}|[0-9]{1,20}|-1|1.5|true|\"\\*\"|\\[\\[\\]\\]|\\[\\{route: \\[\\{\\}\\]\\}\\])",
    ) {
        let text = format!(
            "apiVersion: {}/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  {field}: {value}\n",
            kind.group()
        );
        prop_assert_eq!(documents(&text, "f").len(), 1);
    }
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = format!("*a{}", level - 1);
        let items = vec![inner; 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{items}]\n");
    }
    let found = all(&bomb);
    assert!(
        found[0].contains("repetition limit exceeded"),
        "{}",
        found[0]
    );
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(
        all(&deep)[0].contains("nested deeper than 64 levels"),
        "{:?}",
        all(&deep)
    );
    // The YAML library's time grows with the square of the depth.
    for opening in ["[", "{", "- ", "? "] {
        let deeper = format!("a:\n{}", opening.repeat(100_000));
        let found = all(&deeper);
        assert!(
            found[0].contains("nested deeper than"),
            "{opening} {}",
            found[0]
        );
    }
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  x: |\n    {}",
        "[(".repeat(1000)
    );
    assert_eq!(all(&text), ["other ConfigMap None a"]);
}

#[test]
fn kinds_that_come_later_are_refused_by_name() {
    for planned in PlannedKind::ALL {
        let PlannedKind { group, name, .. } = planned;
        let version = planned.stored;
        assert!(planned.versions.contains(&version), "{name}");
        let text =
            format!("{{apiVersion: {group}/{version}, kind: {name}, metadata: {{name: a}}}}");
        assert_eq!(
            all(&text),
            [format!(
                "f.yaml:1: {name} default/a: kind: {name} is not implemented yet; \
                 remove the object; it has no effect"
            )]
        );
    }
}
