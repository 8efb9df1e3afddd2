//! A container of the user's laid over one of ours: a strategic merge, as Kubernetes defines it
//! for containers.

use serde_json::Value;

/// Lists of a container that merge item by item, and the field that identifies an item.
const KEYED: [(&str, &str); 4] = [
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
];

/// What a probe or a hook does; it has one of them.
const HANDLERS: [&str; 5] = ["httpGet", "tcpSocket", "grpc", "exec", "sleep"];

/// Lays `overlay` over `base`: objects merge, keyed lists merge item by item, everything else is
/// replaced; `null` removes. The images `auto` and `auto:latest` stand for ours. A probe that asks
/// in another way than ours asks in that way alone, and so do hooks.
pub(crate) fn container(base: &mut Value, overlay: &Value) {
    let Some(fields) = overlay.as_object() else {
        return;
    };
    let image = overlay["image"].as_str().unwrap_or_default();
    for (name, value) in fields {
        let stands_for_ours = match name.as_str() {
            "image" => matches!(image, "auto" | "auto:latest"),
            // The API server has filled that in for an image without a tag: nobody can tell it
            // from the user's own, and ours has a tag. With `latest` it is meant.
            "imagePullPolicy" => image == "auto" && value == "Always",
            _ => false,
        };
        if stands_for_ours {
            continue;
        }
        if let (true, Some(probe)) = (name.ends_with("Probe"), base.get_mut(name)) {
            drop_other_handlers(probe, value);
        }
        if let ("lifecycle", Some(hooks)) = (name.as_str(), value.as_object()) {
            for (hook, value) in hooks {
                if let Some(ours) = base.pointer_mut(&format!("/lifecycle/{hook}")) {
                    drop_other_handlers(ours, value);
                }
            }
        }
        let key = KEYED
            .iter()
            .find(|(list, _)| list == name)
            .map(|(_, key)| *key);
        match (key, base.get_mut(name), value) {
            (Some(key), Some(Value::Array(items)), Value::Array(new)) => keyed(items, new, key),
            _ => merge_field(base, name, value),
        }
    }
}

fn drop_other_handlers(ours: &mut Value, overlay: &Value) {
    let chosen = HANDLERS
        .iter()
        .any(|way| overlay.get(way).is_some_and(Value::is_object));
    if let (true, Some(fields)) = (chosen, ours.as_object_mut()) {
        fields
            .retain(|field, _| !HANDLERS.contains(&field.as_str()) || overlay.get(field).is_some());
    }
}

fn keyed(items: &mut Vec<Value>, new: &[Value], key: &str) {
    for item in new {
        match items.iter_mut().find(|old| old[key] == item[key]) {
            // A variable's value and valueFrom exclude each other: the whole item is replaced.
            Some(old) if key == "name" => *old = item.clone(),
            Some(old) => merge(old, item),
            None => items.push(item.clone()),
        }
    }
}

fn merge_field(base: &mut Value, name: &str, value: &Value) {
    let Some(fields) = base.as_object_mut() else {
        return;
    };
    if value.is_null() {
        fields.remove(name);
        return;
    }
    match fields.get_mut(name) {
        Some(old) => merge(old, value),
        None => {
            fields.insert(name.to_owned(), value.clone());
        }
    }
}

fn merge(base: &mut Value, overlay: &Value) {
    match overlay.as_object() {
        Some(fields) if base.is_object() => {
            for (name, value) in fields {
                merge_field(base, name, value);
            }
        }
        _ => *base = overlay.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::container;

    #[test]
    fn lists_merge_by_their_key_and_objects_field_by_field() {
        let mut base = json!({
            "image": "ours",
            "args": ["proxy"],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}, {"name": "B", "value": "b"}],
            "ports": [{"containerPort": 1, "name": "one"}],
            "resources": {"limits": {"cpu": "1"}},
        });
        let overlay = json!({
            "image": "auto",
            "imagePullPolicy": "Always",
            "args": ["other"],
            "env": [{"name": "A", "value": "a"}, {"name": "C", "value": "c"}],
            "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 2}],
            "resources": {"limits": {"memory": "2"}, "requests": null},
            "tty": true,
        });
        container(&mut base, &overlay);
        assert_eq!(
            base,
            json!({
                "image": "ours",
                "args": ["other"],
                "env": [{"name": "A", "value": "a"}, {"name": "B", "value": "b"}, {"name": "C", "value": "c"}],
                "ports": [{"containerPort": 1, "name": "one", "protocol": "TCP"}, {"containerPort": 2}],
                "resources": {"limits": {"cpu": "1", "memory": "2"}},
                "tty": true,
            })
        );
    }

    #[test]
    fn a_pull_policy_is_the_users_unless_the_api_server_has_filled_it_in() {
        for (image, policy, expected) in [
            ("auto", "Always", "IfNotPresent"),
            ("auto", "Never", "Never"),
            ("auto:latest", "Always", "Always"),
        ] {
            let mut base = json!({"image": "ours:1", "imagePullPolicy": "IfNotPresent"});
            let overlay = json!({"image": image, "imagePullPolicy": policy});
            container(&mut base, &overlay);
            assert_eq!(
                base,
                json!({"image": "ours:1", "imagePullPolicy": expected})
            );
        }
    }

    #[test]
    fn a_probe_and_a_hook_have_one_way() {
        let mut base = json!({
            "startupProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 1},
            "readinessProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 15},
            "lifecycle": {"preStop": {"exec": {"command": ["ours"]}}},
        });
        let overlay = json!({
            "startupProbe": {"tcpSocket": {"port": 2}},
            "readinessProbe": {"httpGet": {"port": 3}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        });
        container(&mut base, &overlay);
        assert_eq!(
            base,
            json!({
                "startupProbe": {"tcpSocket": {"port": 2}, "periodSeconds": 1},
                "readinessProbe": {"httpGet": {"path": "/", "port": 3}, "periodSeconds": 15},
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            })
        );
    }
}
