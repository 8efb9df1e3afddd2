//! What an API server would refuse although the types allow it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodSpec, Service};

use super::Body;

/// Checks an object by itself.
///
/// # Errors
/// The first field that is wrong, and what to do.
pub(super) fn validate(body: &Body) -> Result<(), String> {
    match body {
        Body::Deployment(object) => deployment(object),
        Body::Pod(object) => match &object.spec {
            Some(spec) => pod(spec, "spec"),
            None => Err("spec: missing; a pod needs containers".to_owned()),
        },
        Body::Service(object) => service(object),
        Body::ConfigMap(_) | Body::Secret(_) | Body::Passive => Ok(()),
    }
}

fn deployment(object: &Deployment) -> Result<(), String> {
    let Some(spec) = &object.spec else {
        return Err("spec: missing; a Deployment needs selector and template".to_owned());
    };
    let labels = spec
        .template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.labels.as_ref());
    let selector = spec.selector.match_labels.iter().flatten();
    for (key, value) in selector {
        if labels.and_then(|labels| labels.get(key)) != Some(value) {
            return Err(format!(
                "spec.selector.matchLabels: {key}={value} is not among the labels of spec.template; make them agree"
            ));
        }
    }
    if spec.replicas.is_some_and(i32::is_negative) {
        return Err("spec.replicas: negative; write 0 or more".to_owned());
    }
    match &spec.template.spec {
        Some(template) => pod(template, "spec.template.spec"),
        None => Err("spec.template.spec: missing; a pod needs containers".to_owned()),
    }
}

fn pod(spec: &PodSpec, path: &str) -> Result<(), String> {
    if spec.containers.is_empty() {
        return Err(format!(
            "{path}.containers: empty; a pod needs at least one"
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(|(index, container)| (format!("initContainers[{index}]"), container));
    let main = spec.containers.iter().enumerate();
    let main = main.map(|(index, container)| (format!("containers[{index}]"), container));
    for (place, container) in init.chain(main) {
        if container.image.as_deref().unwrap_or_default().is_empty() {
            return Err(format!("{path}.{place}.image: missing; name an image"));
        }
        if !super::names::is_valid(&container.name) {
            let name = &container.name;
            return Err(format!("{path}.{place}.name: {name:?} is not a valid name"));
        }
        if !names.insert(&container.name) {
            let name = &container.name;
            return Err(format!(
                "{path}.{place}.name: {name} is used twice; rename one"
            ));
        }
    }
    for (field, set) in [
        ("hostNetwork", spec.host_network),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
    ] {
        if set == Some(true) {
            return Err(format!(
                "{path}.{field}: not possible on the local platform, where every pod has namespaces of its own; remove it"
            ));
        }
    }
    Ok(())
}

fn service(object: &Service) -> Result<(), String> {
    let Some(spec) = &object.spec else {
        return Err("spec: missing; a Service needs ports".to_owned());
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !headless && spec.type_.as_deref() != Some("ExternalName") {
        return Err("spec.ports: empty; a Service needs at least one".to_owned());
    }
    for (index, port) in ports.iter().enumerate() {
        if u16::try_from(port.port).map_or(true, |port| port == 0) {
            let number = port.port;
            return Err(format!(
                "spec.ports[{index}].port: {number} is not from 1 to 65535"
            ));
        }
        if ports.len() > 1 && port.name.as_deref().unwrap_or_default().is_empty() {
            return Err(format!(
                "spec.ports[{index}].name: missing; a Service with several ports names each"
            ));
        }
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        return Err("spec.sessionAffinity: ClientIP is not implemented on the local platform; remove it (a DestinationRule with consistentHash does the same in the mesh)".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment_with(change: &Value) -> Result<(), String> {
        let mut value = json!({"spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "web"}]},
            },
        }});
        json_patch::merge(&mut value, change);
        validate(&Body::Deployment(serde_json::from_value(value).unwrap()))
    }

    #[test]
    fn refusals_name_the_field() {
        for (change, field) in [
            (
                json!({"spec": {"selector": {"matchLabels": {"app": "x"}}}}),
                "spec.selector.matchLabels",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": []}}}}),
                "spec.template.spec.containers",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}),
                "spec.template.spec.containers[0].image",
            ),
            (
                json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
                "spec.template.spec.hostNetwork",
            ),
        ] {
            let error = deployment_with(&change).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
        assert_eq!(deployment_with(&json!({})), Ok(()));
    }

    #[test]
    fn ports_of_services_are_checked() {
        let service = |spec: Value| {
            let object = serde_json::from_value(json!({"spec": spec})).unwrap();
            validate(&Body::Service(Box::new(object)))
        };
        assert!(service(json!({"ports": [{"port": 80}]})).is_ok());
        assert!(
            service(json!({"ports": [{"port": 70000}]}))
                .unwrap_err()
                .contains("ports[0].port")
        );
        assert!(
            service(json!({"ports": [{"port": 1}, {"port": 2}]}))
                .unwrap_err()
                .contains("name")
        );
        assert!(service(json!({})).is_err());
        assert!(service(json!({"clusterIP": "None"})).is_ok());
    }
}
