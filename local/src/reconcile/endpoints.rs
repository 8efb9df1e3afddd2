//! From Services and pods to endpoints: who answers for a Service, ready or not.
//!
//! Pure. Source: Kubernetes' EndpointSlice controller.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// A pod as an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Pod name.
    pub(crate) pod: String,
    /// Pod uid.
    pub(crate) uid: String,
    /// `spec.hostname`, if the pod has one and its `subdomain` is this Service.
    pub(crate) hostname: Option<String>,
    /// Takes new connections.
    pub(crate) ready: bool,
    /// Passes its readiness probe, ending or not.
    pub(crate) serving: bool,
    /// Is being ended.
    pub(crate) terminating: bool,
}

/// A port of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// Name of the Service's port.
    pub(crate) name: String,
    /// The Service's port.
    pub(crate) service_port: u16,
    /// The pods' port.
    pub(crate) target: u16,
    /// `TCP` or `UDP`.
    pub(crate) protocol: String,
    /// `appProtocol`, if given.
    pub(crate) app_protocol: Option<String>,
}

/// Endpoints that have the same ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The ports.
    pub(crate) ports: Vec<Port>,
    /// At least one, unless the Service has no pod at all.
    pub(crate) endpoints: BTreeSet<Endpoint>,
}

/// What matters of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    /// The pod as admitted.
    pub(crate) pod: &'a Pod,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Passes its probes.
    pub(crate) ready: bool,
    /// Is being ended.
    pub(crate) terminating: bool,
}

/// The slices of a Service; pods with other numbers behind the same named ports get their own.
pub(crate) fn slices<'a>(
    service: &Service,
    candidates: impl Iterator<Item = Candidate<'a>>,
) -> Vec<Slice> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let Some(selector) = spec
        .selector
        .as_ref()
        .filter(|selector| !selector.is_empty())
    else {
        return Vec::new();
    };
    let not_ready_too = spec.publish_not_ready_addresses == Some(true);
    let service_name = service.metadata.name.as_deref().unwrap_or_default();
    let mut by_ports: BTreeMap<Vec<Port>, BTreeSet<Endpoint>> = BTreeMap::new();
    for candidate in candidates {
        let labels = candidate.pod.metadata.labels.as_ref();
        let selected = selector
            .iter()
            .all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)));
        if !selected || candidate.pod.metadata.namespace != service.metadata.namespace {
            continue;
        }
        let ports = spec.ports.iter().flatten();
        let ports = ports
            .filter_map(|port| resolve(port, candidate.pod))
            .collect();
        let spec = candidate.pod.spec.as_ref();
        let of_this = spec.and_then(|spec| spec.subdomain.as_deref()) == Some(service_name);
        by_ports.entry(ports).or_default().insert(Endpoint {
            address: candidate.address,
            pod: candidate.pod.metadata.name.clone().unwrap_or_default(),
            uid: candidate.pod.metadata.uid.clone().unwrap_or_default(),
            hostname: spec
                .and_then(|spec| spec.hostname.clone())
                .filter(|_| of_this),
            ready: not_ready_too || (candidate.ready && !candidate.terminating),
            serving: candidate.ready,
            terminating: candidate.terminating,
        });
    }
    by_ports
        .into_iter()
        .map(|(ports, endpoints)| Slice { ports, endpoints })
        .collect()
}

fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let service_port = u16::try_from(port.port).ok()?;
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let target = match &port.target_port {
        None => service_port,
        Some(IntOrString::Int(0)) => service_port,
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
        Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        service_port,
        target,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| crate::pod::is_sidecar(init));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            port.name.as_deref() == Some(name)
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .and_then(|port| u16::try_from(port.container_port).ok())
}

/// The slice as an object. `name`: of the slice; `service`: as admitted, with uid.
pub(crate) fn to_json(slice: &Slice, name: &str, service: &Value, node: &str) -> Value {
    let service_name = &service["metadata"]["name"];
    let namespace = &service["metadata"]["namespace"];
    let endpoints: Vec<Value> = slice
        .endpoints
        .iter()
        .map(|endpoint| {
            let mut value = json!({
                "addresses": [endpoint.address.to_string()],
                "conditions": {
                    "ready": endpoint.ready,
                    "serving": endpoint.serving,
                    "terminating": endpoint.terminating,
                },
                "nodeName": node,
                "targetRef": {
                    "kind": "Pod", "name": endpoint.pod, "namespace": namespace, "uid": endpoint.uid,
                },
            });
            if let Some(hostname) = &endpoint.hostname {
                value["hostname"] = hostname.as_str().into();
            }
            value
        })
        .collect();
    let ports: Vec<Value> = slice
        .ports
        .iter()
        .map(|port| {
            let mut value =
                json!({"name": port.name, "port": port.target, "protocol": port.protocol});
            if let Some(app_protocol) = &port.app_protocol {
                value["appProtocol"] = app_protocol.as_str().into();
            }
            value
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service_name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service_name,
                "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

#[cfg(test)]
mod tests;
