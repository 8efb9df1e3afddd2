//! What pods read: ConfigMaps, Secrets, service variables and accounts, as one shared value that
//! is replaced whole at each change.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

/// Contents of a ConfigMap or Secret.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Everything pods can refer to, by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Data {
    /// ConfigMaps.
    pub(crate) config_maps: BTreeMap<(String, String), Files>,
    /// Secrets.
    pub(crate) secrets: BTreeMap<(String, String), Files>,
    /// Uids of service accounts.
    pub(crate) accounts: BTreeMap<(String, String), String>,
    /// Kubernetes' service variables, by namespace.
    pub(crate) service_variables: BTreeMap<String, BTreeMap<String, String>>,
}

/// The files of a ConfigMap.
pub(crate) fn config_map(object: &ConfigMap) -> Files {
    let text = object.data.iter().flatten();
    let binary = object.binary_data.iter().flatten();
    text.map(|(key, value)| (key.clone(), value.clone().into_bytes()))
        .chain(binary.map(|(key, value)| (key.clone(), value.0.clone())))
        .collect()
}

/// The files of a Secret; `stringData` wins over `data`.
pub(crate) fn secret(object: &Secret) -> Files {
    let binary = object.data.iter().flatten();
    let text = object.string_data.iter().flatten();
    binary
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .chain(text.map(|(key, value)| (key.clone(), value.clone().into_bytes())))
        .collect()
}

/// The `data` of a Secret as it is shown: `stringData` folded in, base64.
pub(crate) fn secret_data(object: &Secret) -> BTreeMap<String, String> {
    secret(object)
        .into_iter()
        .map(|(key, value)| (key, STANDARD.encode(value)))
        .collect()
}

/// The variables Kubernetes gives for one service: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`,
/// one per named port, and the older `NAME_PORT_80_TCP...` family.
pub(crate) fn service_variables(
    name: &str,
    address: &str,
    ports: &[(Option<String>, u16, String)],
) -> BTreeMap<String, String> {
    let upper = |text: &str| text.to_ascii_uppercase().replace(['-', '.'], "_");
    let prefix = upper(name);
    let mut variables = BTreeMap::new();
    variables.insert(format!("{prefix}_SERVICE_HOST"), address.to_owned());
    for (index, (port_name, port, protocol)) in ports.iter().enumerate() {
        let lower = protocol.to_ascii_lowercase();
        let url = format!("{lower}://{address}:{port}");
        if index == 0 {
            variables.insert(format!("{prefix}_SERVICE_PORT"), port.to_string());
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(port_name) = port_name {
            variables.insert(
                format!("{prefix}_SERVICE_PORT_{}", upper(port_name)),
                port.to_string(),
            );
        }
        let family = format!("{prefix}_PORT_{port}_{}", upper(protocol));
        variables.insert(format!("{family}_PROTO"), lower);
        variables.insert(format!("{family}_PORT"), port.to_string());
        variables.insert(format!("{family}_ADDR"), address.to_owned());
        variables.insert(family, url);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_of_a_service() {
        let ports = [(Some("http-web".to_owned()), 80, "TCP".to_owned())];
        let variables = service_variables("my-web", "10.96.1.2", &ports);
        assert_eq!(variables["MY_WEB_SERVICE_HOST"], "10.96.1.2");
        assert_eq!(variables["MY_WEB_SERVICE_PORT"], "80");
        assert_eq!(variables["MY_WEB_SERVICE_PORT_HTTP_WEB"], "80");
        assert_eq!(variables["MY_WEB_PORT"], "tcp://10.96.1.2:80");
        assert_eq!(variables["MY_WEB_PORT_80_TCP_ADDR"], "10.96.1.2");
    }

    #[test]
    fn string_data_wins() {
        let object: Secret = serde_json::from_value(json!(
            {"data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}}
        ))
        .unwrap();
        assert_eq!(secret(&object)["a"], b"new");
        assert_eq!(secret_data(&object)["b"], "Yg==");
    }
}
