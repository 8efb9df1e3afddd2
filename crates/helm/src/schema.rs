//! Checks values against a chart's `values.schema.json`.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use crate::error::RenderError;

/// Checks that `values` are what `schema` allows.
///
/// # Errors
/// [`RenderError::UnknownValue`] for a key that the schema does not have, before anything else;
/// [`RenderError::InvalidValue`] for any other fault.
pub(crate) fn check(chart: &str, schema: &Value, values: &Value) -> Result<(), RenderError> {
    Walk {
        chart,
        root: schema,
    }
    .unknown_keys(schema, values, "")?;
    let invalid = |path: String, reason: String| RenderError::InvalidValue {
        chart: chart.to_owned(),
        path,
        reason,
    };
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        invalid(
            String::new(),
            format!("the schema itself is wrong: {error}"),
        )
    })?;
    match validator.validate(values) {
        Ok(()) => Ok(()),
        Err(error) => Err(invalid(
            dotted(error.instance_path().as_str()),
            reason(&error),
        )),
    }
}

fn reason(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Enum { options } => {
            format!("{} is none of {options}", error.instance())
        }
        ValidationErrorKind::Type {
            kind: TypeKind::Single(JsonType::String),
        } => {
            format!("{error} (quote it in a file; on the command line use --set-string)")
        }
        _ => error.to_string(),
    }
}

struct Walk<'a> {
    chart: &'a str,
    root: &'a Value,
}

impl<'a> Walk<'a> {
    fn unknown_keys(
        &self,
        schema: &'a Value,
        value: &Value,
        path: &str,
    ) -> Result<(), RenderError> {
        let schema = self.resolve(schema);
        let Some(fields) = value.as_object() else {
            let Some(items) = value.as_array() else {
                return Ok(());
            };
            let of_items = &schema["items"];
            return items.iter().enumerate().try_for_each(|(index, item)| {
                self.unknown_keys(of_items, item, &format!("{path}[{index}]"))
            });
        };
        for (key, value) in fields {
            let path = match path {
                "" => key.clone(),
                above => format!("{above}.{key}"),
            };
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return Err(self.unknown(key, path)),
                (Value::Null, others) => self.unknown_keys(others, value, &path)?,
                (known, _) => self.unknown_keys(known, value, &path)?,
            }
        }
        Ok(())
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self
                .root
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or(schema),
            None => schema,
        }
    }

    /// The error about `key`, with the nearest key of the whole chart: one often knows a key but
    /// not where it stands.
    fn unknown(&self, key: &str, path: String) -> RenderError {
        let mut known = Vec::new();
        self.paths(self.root, String::new(), &mut known);
        let nearness = |candidate: &String| {
            let name = candidate.rsplit('.').next().unwrap_or(candidate);
            let whole = strsim::normalized_damerau_levenshtein(candidate, &path);
            strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &key.to_lowercase())
                + whole / 10.0
        };
        let nearest = known
            .into_iter()
            .map(|candidate| (nearness(&candidate), candidate))
            .filter(|(nearness, _)| *nearness > 0.6)
            .max_by(|one, other| one.0.total_cmp(&other.0));
        RenderError::UnknownValue {
            chart: self.chart.to_owned(),
            path,
            nearest: nearest.map(|(_, candidate)| candidate),
        }
    }

    fn paths(&self, schema: &'a Value, path: String, found: &mut Vec<String>) {
        let Some(properties) = self.resolve(schema)["properties"].as_object() else {
            return;
        };
        for (key, below) in properties {
            let path = match path.as_str() {
                "" => key.clone(),
                above => format!("{above}.{key}"),
            };
            self.paths(below, path.clone(), found);
            found.push(path);
        }
    }
}

/// `/a/0/b` as `a[0].b`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if segment.parse::<usize>().is_ok() {
            path.push_str(&format!("[{segment}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        }
    }
    path
}
