//! A running instance: a pod, or a machine described by a WorkloadEntry.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1 as core;

use super::{Labels, Locality, TargetPort, locality, service};

/// Whether a workload takes mesh mTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// It has a sidecar (label `security.istio.io/tlsMode=istio`, set by the injector).
    Istio,
    /// It does not.
    Disabled,
}

/// A pod or machine that serves or calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name of the object (the pod).
    pub object: String,
    /// Name of what owns it: the Deployment, StatefulSet, ...
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Its addresses, the first one first in Kubernetes' order. A pod has none before it runs, nor
    /// with `hostNetwork`: it then shares its node's.
    pub addresses: Vec<IpAddr>,
    /// Name of the service account; `default` when the pod names none.
    pub service_account: String,
    /// Labels of the pod.
    pub labels: Labels,
    /// Whether it takes mesh mTLS.
    pub tls_mode: TlsMode,
    /// Where it runs, as far as its own labels say.
    pub locality: Locality,
    /// The node that it runs on; empty when unknown.
    pub node: String,
    /// Container ports by name, for services whose `targetPort` is a name.
    pub ports: BTreeMap<String, u16>,
    /// RFC 3339 creation time; empty when unknown.
    pub created: String,
}

/// Label by which the injector marks pods with a sidecar.
pub const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
const LOCALITY_LABEL: &str = "istio-locality";
const TEMPLATE_HASH: &str = "pod-template-hash";

impl Workload {
    /// Whether it says itself where it is, by Istio's label: that counts more than its node's place.
    pub fn names_locality(&self) -> bool {
        self.labels.contains_key(LOCALITY_LABEL)
    }

    /// The container port that a service port leads to; `None` if the name is unknown.
    pub fn resolve(&self, target: &TargetPort) -> Option<u16> {
        match target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => self.ports.get(name).copied(),
        }
    }

    /// The value of the first of Istio's canonical-name labels that is set, else the workload's name.
    pub fn canonical_name(&self) -> &str {
        [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ]
        .iter()
        .find_map(|key| self.labels.get(*key))
        .unwrap_or(&self.name)
    }

    /// The value of the first of Istio's canonical-revision labels that is set, else `latest`.
    pub fn canonical_revision(&self) -> &str {
        [
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]
        .iter()
        .find_map(|key| self.labels.get(*key))
        .map_or("latest", String::as_str)
    }
}

/// Converts a pod; `None` if it has no name, or has finished: such a pod keeps its address until
/// Kubernetes gives it to another one.
pub fn from_pod(pod: &core::Pod) -> Option<Workload> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let object = meta.name.clone()?;
    let labels = meta.labels.clone().unwrap_or_default();
    let own_address = !spec.host_network.unwrap_or_default();
    Some(Workload {
        name: owner_name(pod).unwrap_or_else(|| object.clone()),
        object,
        namespace: meta.namespace.clone()?,
        addresses: status
            .filter(|_| own_address)
            .map(addresses)
            .unwrap_or_default(),
        service_account: spec
            .service_account_name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        tls_mode: tls_mode(&labels),
        locality: locality(&labels),
        node: spec.node_name.clone().unwrap_or_default(),
        ports: container_ports(spec),
        labels,
        created: service::created(meta),
    })
}

/// The mode that labels declare.
pub(crate) fn tls_mode(labels: &Labels) -> TlsMode {
    match labels.get(TLS_MODE_LABEL).map(String::as_str) {
        Some("istio") => TlsMode::Istio,
        _ => TlsMode::Disabled,
    }
}

fn addresses(status: &core::PodStatus) -> Vec<IpAddr> {
    let mut texts: Vec<&String> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|entry| &entry.ip)
        .collect();
    if texts.is_empty() {
        texts.extend(&status.pod_ip);
    }
    texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// The Deployment rather than its ReplicaSet, whose name ends in the pod template's hash.
fn owner_name(pod: &core::Pod) -> Option<String> {
    let owner = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller.unwrap_or(true))?;
    let hash = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(TEMPLATE_HASH));
    let deployment = match (owner.kind.as_str(), hash) {
        ("ReplicaSet", Some(hash)) => owner.name.strip_suffix(&format!("-{hash}")),
        _ => None,
    };
    Some(deployment.unwrap_or(&owner.name).to_owned())
}

fn locality(labels: &Labels) -> Locality {
    match labels.get(LOCALITY_LABEL) {
        Some(label) => Locality::parse_label(label),
        None => locality::of_labels(labels),
    }
}

fn container_ports(spec: &core::PodSpec) -> BTreeMap<String, u16> {
    let native_sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(native_sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect()
}
