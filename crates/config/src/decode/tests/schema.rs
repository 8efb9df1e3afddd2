//! Decoder and schemas (`crate::schema`) must agree: on the fields, and on what is valid.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::json;

use super::super::reader::opened::{self, Opened};
use super::super::*;

/// Adds what makes the decoder read on: some fields are read only if another says something.
fn hint(spec: &mut Value, path: &str) {
    let fields = spec.as_object_mut().unwrap();
    if path == "spec.http[0]" {
        fields.entry("route").or_insert(json!([{}]));
        if fields.contains_key("mirrorPercentage") {
            fields.insert("mirror".into(), json!({}));
        }
    }
    if path == "spec.http[0].fault.delay" {
        fields.entry("fixedDelay").or_insert(json!("1s"));
    }
}

/// The schema of a kind's spec.
fn spec_schema(kind: Kind) -> Value {
    let name = format!("{}.{}", kind.plural(), kind.group());
    let found = crate::schema::definitions()
        .into_iter()
        .find(|definition| definition["metadata"]["name"] == name.as_str())
        .unwrap();
    found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

#[test]
fn schema_and_decoder_know_the_same_fields() {
    let mut problems = Vec::new();
    let mut compared = 0;
    for kind in Kind::ALL {
        let mut walk = Walk {
            kind,
            problems: &mut problems,
            compared: &mut compared,
        };
        walk.object(&mut Vec::new(), &spec_schema(kind));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(compared > 100, "only {compared} objects were compared");
}

/// One step from a value to a value inside it.
#[derive(Clone)]
enum Step {
    Field(String),
    Item,
    /// An entry of a map; the key is a port as well as a label and a header.
    Entry,
}

struct Walk<'a> {
    kind: Kind,
    problems: &'a mut Vec<String>,
    compared: &'a mut usize,
}

impl Walk<'_> {
    fn value(&mut self, path: &mut Vec<Step>, schema: &Value) {
        for (key, step) in [("items", Step::Item), ("additionalProperties", Step::Entry)] {
            if let Some(inner) = schema.get(key) {
                path.push(step);
                self.value(path, inner);
                path.pop();
            }
        }
        if schema.get("properties").is_some() {
            self.object(path, schema);
        }
    }

    /// Compares the fields at `path`, and goes on with those that the decoder reads.
    fn object(&mut self, path: &mut Vec<Step>, schema: &Value) {
        *self.compared += 1;
        let declared = schema["properties"].as_object().unwrap();
        let text = written(path);
        let Some(decoder) = self.opened(path).remove(&text) else {
            self.problems
                .push(format!("{}: {text} is not reached", self.kind));
            return;
        };
        for name in declared.keys() {
            if !decoder.known.contains(&name.as_str()) && !decoder.refused.contains(&name.as_str())
            {
                self.problems
                    .push(format!("{}: decoder lacks {text}.{name}", self.kind));
            }
        }
        for name in decoder.known {
            match declared.get(*name) {
                Some(inner) => {
                    path.push(Step::Field((*name).to_owned()));
                    self.value(path, inner);
                    path.pop();
                }
                None => self
                    .problems
                    .push(format!("{}: schema lacks {text}.{name}", self.kind)),
            }
        }
    }

    /// Decodes an object that has nothing but what leads to `path`.
    fn opened(&self, path: &[Step]) -> BTreeMap<String, Opened> {
        let mut spec = json!({});
        for index in (0..=path.len()).rev() {
            if spec.is_object() {
                hint(&mut spec, &written(&path[..index]));
            }
            if let Some(step) = index.checked_sub(1).map(|last| &path[last]) {
                spec = match step {
                    Step::Field(name) => json!({name: spec}),
                    Step::Item => json!([spec]),
                    Step::Entry => json!({"80": spec}),
                };
            }
        }
        let object = json!({
            "apiVersion": format!("{}/v1", self.kind.group()),
            "kind": self.kind.as_str(),
            "metadata": {"name": "it", "namespace": "shop"},
            "spec": spec,
        });
        opened::take();
        let _ = super::super::object(&object, &Source::default());
        opened::take()
    }
}

/// The path as the decoder writes it.
fn written(path: &[Step]) -> String {
    let mut text = String::from("spec");
    for step in path {
        match step {
            Step::Field(name) => text.extend([".", name]),
            Step::Item => text.push_str("[0]"),
            Step::Entry => text.push_str("[80]"),
        }
    }
    text
}

static VALIDATORS: LazyLock<BTreeMap<Kind, Validator>> = LazyLock::new(|| {
    let validator = |kind| {
        let mut schema = spec_schema(kind);
        make_strict(&mut schema);
        (kind, jsonschema::validator_for(&schema).unwrap())
    };
    Kind::ALL.into_iter().map(validator).collect()
});

/// Rewrites OpenAPI's `nullable` for JSON schema, and refuses fields that are not declared: the
/// API server would drop them.
fn make_strict(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                let kind = map["type"].clone();
                map["type"] = json!([kind, "null"]);
            }
            if map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(make_strict);
        }
        Value::Array(items) => items.iter_mut().for_each(make_strict),
        _ => {}
    }
}

/// The mesh resources of a manifest that decodes must satisfy their kinds' schemas.
pub(super) fn assert_conforms(text: &str) {
    for document in yaml::split(text) {
        let value = yaml::parse(document).unwrap();
        let group = value["apiVersion"].as_str().unwrap_or_default();
        let group = group.split('/').next().unwrap_or_default();
        let Some(kind) = Kind::find(group, value["kind"].as_str().unwrap_or_default()) else {
            continue;
        };
        let spec = value.get("spec").cloned().unwrap_or_else(|| json!({}));
        let errors: Vec<String> = VALIDATORS[&kind]
            .iter_errors(&spec)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}\n{text}", errors.join("\n"));
    }
}

#[test]
fn samples_and_seeds_of_the_fuzzer_satisfy_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let seeds = root.join("fuzz/seeds/manifests");
    let mut directories = vec![root.join("samples"), seeds.clone()];
    let mut checked = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") || path.starts_with(&seeds) {
                assert_conforms(&std::fs::read_to_string(path).unwrap());
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "only {checked} samples found");
}
