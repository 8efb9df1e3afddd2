//! Access to the parts of a pod in JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{InjectError, PROXY_CONTAINER};

/// A field of `metadata` that maps text to text; entries that are not text are left out.
pub(crate) fn text_map(pod: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = pod["metadata"][field].as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The containers in the list `spec.<field>`.
pub(crate) fn containers<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    pod["spec"][field].as_array().map_or(&[], Vec::as_slice)
}

/// The list `spec.<field>`, made if absent.
///
/// # Errors
/// The field is there and is not a list.
pub(crate) fn list<'a>(pod: &'a mut Value, field: &str) -> Result<&'a mut Vec<Value>, InjectError> {
    let slot = object(pod, &["spec"])?
        .entry(field.to_owned())
        .or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().ok_or_else(|| InjectError::Pod {
        path: format!("spec.{field}"),
        problem: "must be a list".to_owned(),
    })
}

/// The object at `path`, made (with all above it) if absent.
///
/// # Errors
/// Something on the path is not an object.
pub(crate) fn object<'a>(
    pod: &'a mut Value,
    path: &[&str],
) -> Result<&'a mut Map<String, Value>, InjectError> {
    let mut found = pod;
    for (depth, name) in path.iter().enumerate() {
        let map = found
            .as_object_mut()
            .ok_or_else(|| not_an_object(&path[..depth]))?;
        found = map.entry((*name).to_owned()).or_insert(Value::Null);
        if found.is_null() {
            *found = Value::Object(Map::new());
        }
    }
    found.as_object_mut().ok_or_else(|| not_an_object(path))
}

fn not_an_object(path: &[&str]) -> InjectError {
    InjectError::Pod {
        path: if path.is_empty() {
            "pod".to_owned()
        } else {
            path.join(".")
        },
        problem: "must be an object".to_owned(),
    }
}

/// Name of a container, volume or variable.
pub(crate) fn name_of(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

/// Takes the item of that name out of a list.
pub(crate) fn take(items: &mut Vec<Value>, name: &str) -> Option<Value> {
    let position = items.iter().position(|item| name_of(item) == name)?;
    Some(items.remove(position))
}

/// The containers of the application: all but the proxy's.
pub(crate) fn applications(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = containers(pod, "containers").iter();
    all.filter(|container| name_of(container) != PROXY_CONTAINER)
}
