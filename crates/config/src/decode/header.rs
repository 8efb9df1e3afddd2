//! What every Kubernetes object starts with: API version, kind and metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::FieldError;
use super::nearest::nearest;
use super::reader::{Node, Report};
use crate::object::{Kind, ObjectMeta, PlannedKind};

/// What every Kubernetes object starts with.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) meta: ObjectMeta,
    /// Whether the manifest names a namespace.
    pub(super) namespaced: bool,
}

pub(super) fn read(node: &Node<'_>) -> Option<Header> {
    let Value::Object(map) = node.value else {
        return node.error(
            "not a Kubernetes object",
            "write apiVersion, kind, metadata and spec",
        );
    };
    let word = |name: &str| {
        let found = map
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        if found.is_none() {
            let remedy = "every object starts with apiVersion, kind and metadata";
            node.report.add(name, "required, but missing", remedy);
        }
        found
    };
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    let (api_version, kind) = (api_version?, kind?);
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let empty = Map::new();
    let metadata = map
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let Some(name) = text("name") else {
        let remedy = "name the object";
        node.report
            .add("metadata.name", "required, but missing", remedy);
        return None;
    };
    let namespace = text("namespace");
    Some(Header {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespaced: namespace.is_some(),
        meta: ObjectMeta {
            name: name.to_owned(),
            namespace: namespace.unwrap_or("default").to_owned(),
            labels: text_map(metadata.get("labels"), "metadata.labels", node.report),
            annotations: text_map(
                metadata.get("annotations"),
                "metadata.annotations",
                node.report,
            ),
            creation_timestamp: text("creationTimestamp").map(str::to_owned),
            resource_version: text("resourceVersion").map(str::to_owned),
            generation: metadata.get("generation").and_then(Value::as_i64),
            uid: text("uid").map(str::to_owned),
        },
    })
    // A label that is not text is an error, but only after the object could be named.
    .filter(|_| !node.report.has_errors())
}

fn text_map(value: Option<&Value>, path: &str, report: &Report) -> BTreeMap<String, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return BTreeMap::new();
    };
    let node = Node {
        value,
        path: path.to_owned(),
        report,
    };
    let entries = node.entries().into_iter();
    entries
        .filter_map(|(key, node)| Some((key.to_owned(), node.text()?.to_owned())))
        .collect()
}

/// Kinds of Istio's groups that are not ours: not implemented yet, or misspelt.
pub(super) fn misspelt(header: &Header) -> Option<FieldError> {
    if !header.group.ends_with("istio.io") || header.group == "install.istio.io" {
        return None;
    }
    let error = |path: &str, problem: String, remedy: String| {
        Some(FieldError {
            path: path.to_owned(),
            problem,
            remedy,
        })
    };
    if PlannedKind::find(&header.group, &header.kind).is_some() {
        return error(
            "kind",
            format!("{} is not implemented yet", header.kind),
            String::from("remove the object; it has no effect"),
        );
    }
    let kinds = Kind::ALL.map(Kind::as_str);
    let meant = nearest(&header.kind, kinds)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == meant)?;
    if meant == header.kind {
        return error(
            "apiVersion",
            format!("{} is not in group {}", header.kind, header.group),
            format!("write apiVersion: {}/v1", kind.group()),
        );
    }
    error(
        "kind",
        format!("{} is not a kind of {}", header.kind, header.group),
        format!("did you mean {meant}?"),
    )
}
