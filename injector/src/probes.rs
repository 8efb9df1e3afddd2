//! Probes of the application, redirected to the proxy.
//!
//! The kubelet probes the pod's address from outside of the mesh, so that under strict mTLS its
//! plain HTTP would be refused. The proxy takes the probe on its status port and asks the
//! application itself. Exec probes need no detour.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::pod::name_of;
use crate::sidecar::Placement;
use crate::{InjectError, PROXY_CONTAINER};

/// Probes of a container and the last segment of their path.
const PROBES: [(&str, &str); 3] = [
    ("readinessProbe", "readyz"),
    ("livenessProbe", "livez"),
    ("startupProbe", "startupz"),
];
/// Hooks of a container, likewise.
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

/// Redirects the probes and hooks of all containers but the proxy's; gives the originals by path,
/// as `ISTIO_KUBE_APP_PROBERS` holds them.
///
/// Init containers wait for their own startup probes and hooks before the next container starts:
/// only a proxy that is one of them (`placement`) runs early enough to answer.
///
/// # Errors
/// A probe names a port that its container does not declare.
pub(crate) fn rewrite(
    pod: &mut Value,
    placement: Placement,
    status_port: u16,
) -> Result<BTreeMap<String, Value>, InjectError> {
    let lists: &[&str] = match placement {
        Placement::Native => &["initContainers", "containers"],
        Placement::Container { .. } => &["containers"],
    };
    let mut originals = BTreeMap::new();
    for &list in lists {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (index, container) in containers.iter_mut().enumerate() {
            if name_of(container) != PROXY_CONTAINER {
                let path = format!("spec.{list}[{index}]");
                rewrite_container(container, &path, status_port, &mut originals)?;
            }
        }
    }
    Ok(originals)
}

fn rewrite_container(
    container: &mut Value,
    path: &str,
    status_port: u16,
    originals: &mut BTreeMap<String, Value>,
) -> Result<(), InjectError> {
    let name = name_of(container).to_owned();
    let ports = named_ports(container);
    for (field, segment) in PROBES {
        if let Some(probe) = container.get_mut(field) {
            let url = format!("/app-health/{name}/{segment}");
            let redirect = Redirect {
                url,
                status_port,
                ports: &ports,
                path: format!("{path}.{field}"),
            };
            redirect.apply(probe, originals)?;
        }
    }
    for (field, segment) in HOOKS {
        if let Some(hook) = container.pointer_mut(&format!("/lifecycle/{field}")) {
            let url = format!("/app-lifecycle/{name}/{segment}");
            let path = format!("{path}.lifecycle.{field}");
            Redirect {
                url,
                status_port,
                ports: &ports,
                path,
            }
            .apply(hook, originals)?;
        }
    }
    Ok(())
}

fn named_ports(container: &Value) -> BTreeMap<String, u64> {
    let ports = container["ports"].as_array().into_iter().flatten();
    ports
        .filter_map(|port| {
            Some((
                port["name"].as_str()?.to_owned(),
                port["containerPort"].as_u64()?,
            ))
        })
        .collect()
}

/// How one probe is redirected.
struct Redirect<'a> {
    url: String,
    status_port: u16,
    ports: &'a BTreeMap<String, u64>,
    path: String,
}

impl Redirect<'_> {
    fn apply(
        self,
        probe: &mut Value,
        originals: &mut BTreeMap<String, Value>,
    ) -> Result<(), InjectError> {
        let Some(fields) = probe.as_object_mut() else {
            return Ok(());
        };
        let kinds = ["httpGet", "tcpSocket", "grpc"];
        let Some(kind) = kinds.into_iter().find(|kind| fields.contains_key(*kind)) else {
            return Ok(());
        };
        let mut action = fields[kind].clone();
        if action["host"].as_str().is_some_and(|host| !host.is_empty()) {
            // The kubelet asks that host instead of the pod: the proxy has no part in it.
            return Ok(());
        }
        let port = self.number(&action["port"], kind)?;
        if kind == "httpGet" && port == u64::from(self.status_port) {
            // Redirected before.
            return Ok(());
        }
        action["port"] = port.into();
        let mut original = Map::new();
        original.insert(kind.to_owned(), action.clone());
        if let Some(timeout) = fields.get("timeoutSeconds") {
            original.insert("timeoutSeconds".to_owned(), timeout.clone());
        }
        let mut redirected = match kind {
            // Headers stay, so that what the application sees of the probe stays.
            "httpGet" => action,
            _ => json!({}),
        };
        redirected["path"] = self.url.clone().into();
        redirected["port"] = self.status_port.into();
        if redirected["scheme"] == "HTTPS" {
            // TLS is between proxy and application.
            redirected["scheme"] = "HTTP".into();
        }
        if let Some(fields) = redirected.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        fields.remove(kind);
        fields.insert("httpGet".to_owned(), redirected);
        originals.insert(self.url, Value::Object(original));
        Ok(())
    }

    fn number(&self, port: &Value, kind: &str) -> Result<u64, InjectError> {
        let error = |problem: String| InjectError::Pod {
            path: format!("{}.{kind}.port", self.path),
            problem,
        };
        match port {
            Value::Number(number) => number
                .as_u64()
                .ok_or_else(|| error(format!("{number} is not a port"))),
            Value::String(name) => match self.ports.get(name) {
                Some(number) => Ok(*number),
                // Kubernetes takes digits in quotes for a name too, but nobody means one.
                None => name.parse().map_err(|_| {
                    error(format!(
                        "the container declares no port named {name:?}; add it to its ports"
                    ))
                }),
            },
            _ => Err(error("required, but missing".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
