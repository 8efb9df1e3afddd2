//! What is accepted and what is refused; the text of the messages is part of the product.

mod authorization_policy;
mod destination_rule;
mod documents;
mod gateway;
mod mesh_config;
mod peer_authentication;
mod schema;
mod service_entry;
mod sidecar;
mod virtual_service;

use super::*;

/// A manifest of `kind` named `shop/it` with the given spec (YAML, any indentation).
fn manifest(kind: &str, spec: &str) -> String {
    let group = if kind.contains("Auth") {
        "security"
    } else {
        "networking"
    };
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata:\n  name: it\n  namespace: shop\nspec:\n{indented}"
    )
}

fn decode(kind: &str, spec: &str) -> Result<Resource, DecodeError> {
    let text = manifest(kind, spec);
    let mut decoded = documents(&text, "it.yaml");
    assert_eq!(decoded.len(), 1);
    match decoded.remove(0)? {
        Decoded::Mesh(resource) => {
            schema::assert_conforms(&text);
            Ok(resource)
        }
        other => panic!("not a mesh resource: {other:?}"),
    }
}

fn accept(kind: &str, spec: &str) -> Resource {
    decode(kind, spec).unwrap_or_else(|error| panic!("{error}\n{spec}"))
}

/// The messages of a spec that must be refused.
fn refuse(kind: &str, spec: &str) -> Vec<String> {
    match decode(kind, spec) {
        Ok(resource) => panic!("accepted: {resource:?}\n{spec}"),
        Err(error) => error.errors.iter().map(ToString::to_string).collect(),
    }
}

/// Each spec must be refused with exactly one message, the given one.
fn refuse_each(kind: &str, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (spec, expected) in cases {
        let messages = refuse(kind, spec);
        if messages != [*expected] {
            wrong.push(format!(
                "{spec}\n  expected: {expected}\n  found:    {}",
                messages.join("\n            ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

macro_rules! spec {
    ($kind:ident, $yaml:expr) => {
        match $crate::decode::tests::accept(stringify!($kind), $yaml) {
            $crate::Resource::$kind(object) => object.spec,
            other => panic!("{other:?}"),
        }
    };
}
use spec;
