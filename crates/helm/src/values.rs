//! Values: merging them, and handing them to the template engine and back.

use std::collections::HashMap;

use gtmpl_ng::{NumberKind, Value as Template};
use serde_json::{Map, Value};

/// Lays `over` over `base`, as Helm lays a user's values over a chart's: objects are merged key by
/// key, everything else is replaced, and `null` removes a key.
pub fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                match base.remove(&key) {
                    _ if value.is_null() => {}
                    Some(below) => {
                        base.insert(key, merge(below, value));
                    }
                    None => {
                        base.insert(key, without_nulls(value));
                    }
                }
            }
            Value::Object(base)
        }
        (_, over) => without_nulls(over),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// For the engine. Objects become maps, in which a missing key is no error, as in Helm.
pub(crate) fn to_template(value: &Value) -> Template {
    match value {
        Value::Null => Template::Nil,
        Value::Bool(value) => Template::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => value.into(),
            (_, Some(value), _) => value.into(),
            (_, _, value) => value.unwrap_or_default().into(),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => Template::Array(items.iter().map(to_template).collect()),
        Value::Object(fields) => Template::Map(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), to_template(value)))
                .collect::<HashMap<_, _>>(),
        ),
    }
}

/// From the engine. What is absent is null, as in Helm.
pub(crate) fn from_template(value: &Template) -> Value {
    match value {
        Template::NoValue | Template::Nil | Template::Function(_) => Value::Null,
        Template::Bool(value) => (*value).into(),
        Template::String(text) => text.clone().into(),
        Template::Number(number) => match number.kind() {
            NumberKind::Unsigned(value) => value.into(),
            NumberKind::Signed(value) => value.into(),
            NumberKind::Float(value) => value.into(),
        },
        Template::Array(items) => items.iter().map(from_template).collect(),
        Template::Map(fields) | Template::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), from_template(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}
