//! What would change in an object, field by field.

use serde_json::{Map, Value};

/// Characters of a value that are shown.
const LONGEST_VALUE: usize = 60;

/// What the API server keeps by itself in every object.
const BOOKKEEPING: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The fields in which `wanted` differs from `live`, a line each: `spec.replicas: 1 -> 2`. Empty if
/// applying changes nothing. Status and the API server's bookkeeping don't count.
///
/// Both are objects as the API server shows them; `wanted` is its answer to a dry run.
pub(crate) fn changes(live: &Value, wanted: &Value) -> Vec<String> {
    let (live, wanted) = (stated(live), stated(wanted));
    let mut lines = Vec::new();
    compare("", &live, &wanted, &mut lines);
    lines
}

fn stated(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !BOOKKEEPING.contains(&field.as_str()));
    }
    object
}

fn compare(path: &str, live: &Value, wanted: &Value, lines: &mut Vec<String>) {
    match (live, wanted) {
        _ if live == wanted => {}
        (Value::Object(live), Value::Object(wanted)) => compare_maps(path, live, wanted, lines),
        (Value::Array(old), Value::Array(new)) => match (by_name(old), by_name(new)) {
            (Some(old), Some(new)) => compare_maps(path, &old, &new, lines),
            _ if old.len() == new.len() => {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    compare(&format!("{path}[{index}]"), old, new, lines);
                }
            }
            _ => lines.push(format!("{path}: {} -> {}", show(live), show(wanted))),
        },
        (Value::Null, wanted) => lines.push(format!("{path}: + {}", show(wanted))),
        (live, Value::Null) => lines.push(format!("{path}: - {}", show(live))),
        (live, wanted) => lines.push(format!("{path}: {} -> {}", show(live), show(wanted))),
    }
}

fn compare_maps(
    path: &str,
    live: &Map<String, Value>,
    wanted: &Map<String, Value>,
    lines: &mut Vec<String>,
) {
    let gone = live.keys().filter(|key| !wanted.contains_key(*key));
    for key in wanted.keys().chain(gone) {
        let inner = match (path, key.contains(['.', '/'])) {
            (path, true) => format!("{path}[{key}]"),
            ("", false) => key.clone(),
            (path, false) => format!("{path}.{key}"),
        };
        let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        compare(&inner, &value(live), &value(wanted), lines);
    }
}

/// A list whose items all have a name of their own, such as containers, by that name.
fn by_name(items: &[Value]) -> Option<Map<String, Value>> {
    let named = items.iter().map(|item| {
        let name = item["name"].as_str()?;
        Some((name.to_owned(), item.clone()))
    });
    let named: Map<String, Value> = named.collect::<Option<_>>()?;
    (named.len() == items.len()).then_some(named)
}

fn show(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text.contains('\n') => {
            return format!("text of {} lines", text.lines().count());
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bookkeeping_and_status_are_no_change() {
        let live = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7",
            "managedFields": [{}]}, "spec": {"x": 1}, "status": {"ready": true}});
        let wanted = json!({"metadata": {"name": "a", "resourceVersion": "8"}, "spec": {"x": 1}});
        assert!(changes(&live, &wanted).is_empty());
    }

    #[test]
    fn fields_are_named_with_their_values() {
        let live = json!({"metadata": {"labels": {"istio.io/rev": "a"}},
            "spec": {"replicas": 1, "paused": true}, "data": {"mesh": "a\nb"}});
        let wanted = json!({"metadata": {"labels": {"istio.io/rev": "b"}},
            "spec": {"replicas": 2, "strategy": {"type": "Recreate"}}, "data": {"mesh": "a\nb\nc"}});
        let mut found = changes(&live, &wanted);
        found.sort();
        let lines = [
            "data.mesh: text of 2 lines -> text of 3 lines",
            r#"metadata.labels[istio.io/rev]: "a" -> "b""#,
            "spec.paused: - true",
            "spec.replicas: 1 -> 2",
            r#"spec.strategy: + {"type":"Recreate"}"#,
        ];
        assert_eq!(found, lines);
    }

    #[test]
    fn named_items_are_compared_by_name() {
        let live = json!({"containers": [{"name": "a", "image": "x:1"}, {"name": "b"}]});
        let wanted = json!({"containers": [{"name": "b"}, {"name": "a", "image": "x:2"}]});
        assert_eq!(
            changes(&live, &wanted),
            [r#"containers.a.image: "x:1" -> "x:2""#]
        );
        let args =
            json!({"containers": [{"name": "a", "image": "x:1", "args": ["--a"]}, {"name": "b"}]});
        assert_eq!(changes(&live, &args), [r#"containers.a.args: + ["--a"]"#]);
    }
}
