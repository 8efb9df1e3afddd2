//! Reading Envoy-shaped admin JSON: our proxy and Envoy itself answer alike.

use serde_json::Value;

/// The items of a config dump section, e.g. `ClustersConfigDump` and `dynamic_active_clusters`.
///
/// Empty when the dump has no such section.
pub(crate) fn dumped<'a>(dump: &'a Value, section: &str, list: &str) -> &'a [Value] {
    items(&dump["configs"])
        .iter()
        .find(|config| {
            config["@type"]
                .as_str()
                .is_some_and(|name| name.ends_with(section))
        })
        .map_or(&[], |config| items(&config[list]))
}

/// A JSON array's items; none for anything else.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A string field's text; empty for anything else.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// `address` as `IP:PORT`, `IP` or a pipe's path.
pub(crate) fn address(address: &Value) -> String {
    let socket = &address["socket_address"];
    match (socket["address"].as_str(), socket["port_value"].as_u64()) {
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(ip), None) => ip.to_owned(),
        (None, _) => text(&address["pipe"], "path").to_owned(),
    }
}

/// A cluster name's parts, `outbound|9080|v1|reviews.default.svc.cluster.local`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClusterName<'a> {
    pub(crate) direction: &'a str,
    pub(crate) port: &'a str,
    pub(crate) subset: &'a str,
    pub(crate) host: &'a str,
}

impl<'a> ClusterName<'a> {
    /// `None` for clusters that stand for no service, such as `PassthroughCluster`.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.splitn(4, '|');
        Some(Self {
            direction: parts.next()?,
            port: parts.next()?,
            subset: parts.next()?,
            host: parts.next()?,
        })
    }
}

/// The resource that configured something, as Istio's metadata names it
/// (`.../namespaces/default/virtual-service/reviews`), in the form `reviews.default`.
pub(crate) fn configured_by(metadata: &Value) -> String {
    let config = text(&metadata["filter_metadata"]["istio"], "config");
    let mut parts = config.rsplit('/');
    let (name, _kind, namespace) = (parts.next(), parts.next(), parts.next());
    match (name, namespace) {
        (Some(name), Some(namespace)) => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cluster_names_have_four_parts() {
        let name =
            ClusterName::parse("outbound|9080|v1|reviews.default.svc.cluster.local").unwrap();
        assert_eq!((name.port, name.subset), ("9080", "v1"));
        assert_eq!(ClusterName::parse("PassthroughCluster"), None);
    }

    #[test]
    fn the_configuring_resource_is_named() {
        let path = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews";
        let metadata = json!({"filter_metadata": {"istio": {"config": path}}});
        assert_eq!(configured_by(&metadata), "reviews.default");
        assert_eq!(configured_by(&Value::Null), "");
    }
}
