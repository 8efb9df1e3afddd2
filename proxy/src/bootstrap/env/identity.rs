//! Making the node of the variables and the downward API's files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Node, Role};
use super::settings::ProxyConfig;
use super::{BootstrapError, Source, Variables, invalid};

/// Who we are.
pub(super) fn node(
    role: Role,
    ip: IpAddr,
    variables: &Variables<'_>,
    config: &ProxyConfig,
) -> Result<Node, BootstrapError> {
    let pod = variables.required("POD_NAME", "the field metadata.name")?;
    let namespace = variables.required("POD_NAMESPACE", "the field metadata.namespace")?;
    let service_account =
        variables.required("SERVICE_ACCOUNT", "the field spec.serviceAccountName")?;
    let labels = downward(variables.source, "/etc/istio/pod/labels");
    let mut metadata = meta_variables(variables)?;
    let text_of = |key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let or = |text: &str, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text.to_owned()
        }
    };
    let workload = or(text_of("WORKLOAD_NAME"), &pod);
    let cluster_id = or(text_of("CLUSTER_ID"), "Kubernetes");
    let (owner, mesh_id) = (text_of("OWNER").to_owned(), text_of("MESH_ID").to_owned());
    let known = [
        ("NAME", json!(pod)),
        ("NAMESPACE", json!(namespace)),
        ("SERVICE_ACCOUNT", json!(service_account)),
        ("WORKLOAD_NAME", json!(workload)),
        ("CLUSTER_ID", json!(cluster_id)),
        ("ISTIO_VERSION", json!(env!("CARGO_PKG_VERSION"))),
        ("INSTANCE_IPS", json!(ip.to_string())),
        ("LABELS", json!(labels)),
    ];
    metadata.extend(known.map(|(key, value)| (key.to_owned(), value)));
    add_platform(&mut metadata, variables);
    let app = labels.get("app").unwrap_or(&workload);
    let domain = variables
        .get("DNS_DOMAIN")
        .unwrap_or_else(|| "cluster.local".to_owned());
    let cluster = config
        .service_cluster
        .clone()
        .unwrap_or_else(|| format!("{app}.{namespace}"));
    Ok(Node {
        id: Node::id_of(role, ip, &pod, &namespace, &domain),
        cluster,
        owner,
        mesh_id,
        pod,
        namespace,
        service_account,
        workload,
        cluster_id,
        labels,
        metadata,
    })
}

/// What only the control plane reads.
fn add_platform(metadata: &mut BTreeMap<String, Value>, variables: &Variables<'_>) {
    let annotations = downward(variables.source, "/etc/istio/pod/annotations");
    metadata.insert("ANNOTATIONS".to_owned(), json!(annotations));
    if let Some(host) = variables.get("HOST_IP") {
        metadata.insert("HOST_IP".to_owned(), json!(host));
    }
    // Pilot reads its part of the proxy's settings from here, as Istio's does.
    let config = variables.get("PROXY_CONFIG");
    if let Some(config) = config.and_then(|text| serde_json::from_str(&text).ok()) {
        metadata.insert("PROXY_CONFIG".to_owned(), config);
    }
}

fn meta_variables(variables: &Variables<'_>) -> Result<BTreeMap<String, Value>, BootstrapError> {
    let own = variables.source.variables().into_iter();
    own.chain(variables.proxy_metadata.clone())
        .filter_map(|(name, value)| meta_variable(&name, value))
        .collect()
}

/// `ISTIO_META_X=v` is metadata X as text; `ISTIO_METAJSON_X=v` as JSON.
fn meta_variable(name: &str, value: String) -> Option<Result<(String, Value), BootstrapError>> {
    if let Some(key) = name.strip_prefix("ISTIO_META_") {
        return Some(Ok((key.to_owned(), Value::String(value))));
    }
    let key = name.strip_prefix("ISTIO_METAJSON_")?;
    Some(match serde_json::from_str(&value) {
        Ok(parsed) => Ok((key.to_owned(), parsed)),
        Err(error) => Err(invalid(name, &value, error)),
    })
}

/// Lines `key="value"` of a downward-API file, values quoted as Go does; empty if it is absent.
fn downward(source: &dyn Source, path: &str) -> BTreeMap<String, String> {
    let Ok(text) = source.file(Path::new(path)) else {
        return BTreeMap::new();
    };
    text.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            // Go's quoting and JSON's agree on everything that labels and usual annotations hold.
            let value = serde_json::from_str::<String>(quoted)
                .unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}
