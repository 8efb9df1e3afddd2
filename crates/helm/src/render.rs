//! From a chart to its objects.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chart::Chart;
use crate::engine::Engine;
use crate::error::RenderError;
use crate::release::Release;
use crate::{order, schema, values};

/// A rendered object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The object, as one would send it to the API server.
    pub manifest: Value,
    /// Chart and template that it comes from, such as `meshd/templates/service.yaml`.
    pub source: String,
}

impl Object {
    /// API version, such as `apps/v1`.
    pub fn api_version(&self) -> &str {
        self.manifest["apiVersion"].as_str().unwrap_or_default()
    }

    /// Kind, such as `Deployment`.
    pub fn kind(&self) -> &str {
        self.manifest["kind"].as_str().unwrap_or_default()
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.manifest["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    }

    /// Namespace; `None` for what belongs to the whole cluster.
    pub fn namespace(&self) -> Option<&str> {
        self.manifest["metadata"]["namespace"].as_str()
    }
}

impl Chart {
    /// The values that templates see: `values`, the user's, laid over the chart's own and checked.
    ///
    /// # Errors
    /// [`RenderError::UnknownValue`] and [`RenderError::InvalidValue`].
    pub fn effective_values(&self, values: &Value) -> Result<Value, RenderError> {
        let merged = values::merge(self.values().clone(), values.clone());
        schema::check(self.name(), self.schema(), &merged)?;
        Ok(merged)
    }

    /// Renders the chart's objects, in the order in which Helm creates them.
    ///
    /// `values`: the user's, laid over the chart's own `values.yaml`; an empty object for none.
    ///
    /// # Errors
    /// [`RenderError`]: values that the schema refuses, a template outside the dialect or one that
    /// gives up, output that is no object.
    pub fn render(&self, release: &Release, values: &Value) -> Result<Vec<Object>, RenderError> {
        let values = self.effective_values(values)?;
        let path = |file: &str| format!("{}/{file}", self.name());
        let templates: Vec<(String, &str)> = self
            .templates()
            .iter()
            .map(|(file, text)| (path(file), text.as_str()))
            .collect();
        let engine = Engine::parse(templates.iter().map(|(name, text)| (name.as_str(), *text)))?;
        let mut objects = Vec::new();
        // Files whose name starts with an underscore only define templates for others; NOTES.txt
        // is what Helm says after an installation.
        let renders = |name: &&String| {
            let file = name.rsplit('/').next().unwrap_or(name);
            !file.starts_with('_') && file != "NOTES.txt"
        };
        for name in templates.iter().map(|(name, _)| name).filter(renders) {
            let context = values::to_template(&self.context(release, &values, name));
            let text = engine.execute(name, &context)?;
            documents(name, &text, &mut objects)?;
        }
        objects
            .sort_by(|one: &Object, other| order::rank(one.kind()).cmp(&order::rank(other.kind())));
        Ok(objects)
    }

    /// What a template sees as `.`.
    fn context(&self, release: &Release, values: &Value, template: &str) -> Value {
        let capitalized = |(key, value): (&String, &Value)| {
            let mut letters = key.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            (first.into_iter().chain(letters).collect(), value.clone())
        };
        let chart: Map<String, Value> = self
            .metadata()
            .as_object()
            .map(|fields| fields.iter().map(capitalized).collect())
            .unwrap_or_default();
        json!({
            "Values": values,
            "Chart": chart,
            "Release": release.to_value(),
            "Capabilities": release.capabilities.to_value(),
            "Files": self.files(),
            "Template": {"Name": template, "BasePath": format!("{}/templates", self.name())},
        })
    }
}

/// Appends the objects in `text`, a stream of YAML documents, to `objects`.
fn documents(template: &str, text: &str, objects: &mut Vec<Object>) -> Result<(), RenderError> {
    let wrong = |reason: String| RenderError::NotAnObject {
        template: template.to_owned(),
        reason,
    };
    for document in serde_yaml::Deserializer::from_str(text) {
        let manifest = Value::deserialize(document).map_err(|error| wrong(error.to_string()))?;
        if manifest.is_null() {
            continue;
        }
        let object = Object {
            manifest,
            source: template.to_owned(),
        };
        if object.api_version().is_empty() || object.kind().is_empty() || object.name().is_empty() {
            return Err(wrong(format!(
                "apiVersion, kind or metadata.name is missing in {}",
                object.manifest
            )));
        }
        objects.push(object);
    }
    Ok(())
}
