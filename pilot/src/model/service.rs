//! A host that can be called, with its ports and addresses.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use mesh_config::visibility::DefaultExport;

use super::{ExportTo, Labels, Protocol};

/// A service of the mesh: a Kubernetes Service, or one host of a ServiceEntry.
#[derive(Clone, Debug)]
pub struct Service {
    /// Fully qualified: `reviews.default.svc.cluster.local`, or a ServiceEntry's host (which may be
    /// `*.example.com`).
    pub hostname: Arc<str>,
    /// The Kubernetes name, or the host.
    pub name: String,
    /// Namespace of the defining object.
    pub namespace: String,
    /// Name of the defining object (differs from `name` for a ServiceEntry).
    pub object: String,
    /// Virtual addresses. Empty for headless services and ServiceEntries without addresses.
    pub vips: Vec<Vip>,
    /// Ports, in the object's order, without UDP ones.
    pub ports: Vec<ServicePort>,
    /// How a cluster finds its endpoints.
    pub resolution: Resolution,
    /// Outside the mesh (`MESH_EXTERNAL`).
    pub external: bool,
    /// Where it was defined.
    pub registry: Registry,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Which workloads implement it; `None` when endpoints are listed by hand.
    pub selector: Option<Labels>,
    /// Labels of the defining object.
    pub labels: Labels,
    /// Identities that servers may show, from a ServiceEntry's `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
    /// RFC 3339 creation time; empty when unknown. The oldest object wins conflicts.
    pub created: String,
    /// Endpoints that are not ready are used too (`publishNotReadyAddresses`).
    pub publish_not_ready: bool,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, unique within the service; may be empty if it is the only one.
    pub name: String,
    /// The port that clients call.
    pub number: u16,
    /// What travels on it.
    pub protocol: Protocol,
    /// The port of the workload.
    pub target: TargetPort,
}

/// The port of a workload that a service port leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container port.
    Name(String),
}

/// A virtual address of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vip {
    /// One address: gets a listener of its own for TCP.
    Ip(IpAddr),
    /// A range: matched inside the wildcard listener.
    Cidr(IpNet),
}

/// How a cluster finds its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Endpoints come by EDS (Kubernetes services, ServiceEntry `STATIC`).
    Static,
    /// The endpoints are names, looked up by the proxy; all answers are used (`DNS`).
    Dns,
    /// As [`Resolution::Dns`], but one answer at a time (`DNS_ROUND_ROBIN`).
    DnsRoundRobin,
    /// Wherever the client was going (headless services, ServiceEntry `NONE`).
    Passthrough,
}

/// What defined a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registry {
    /// A Kubernetes Service.
    Kubernetes,
    /// A ServiceEntry.
    ServiceEntry,
}

impl Service {
    /// The port that clients call by this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Whether the host is a pattern.
    pub fn is_wildcard(&self) -> bool {
        self.hostname.starts_with('*')
    }

    /// Whether a name must be looked up by the proxy.
    pub fn is_dns(&self) -> bool {
        matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
    }

    /// Single addresses among the VIPs.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.vips.iter().filter_map(|vip| match vip {
            Vip::Ip(ip) => Some(*ip),
            Vip::Cidr(_) => None,
        })
    }
}

/// Why a Kubernetes Service is not part of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// It has no `metadata.name` or `metadata.namespace`.
    #[error("metadata.name or metadata.namespace is missing")]
    Unnamed,
    /// A cluster IP that is not an address.
    #[error("spec.clusterIP {value:?} is not an IP address")]
    Address {
        /// What stands there.
        value: String,
    },
    /// A port number outside 1..65535.
    #[error("spec.ports[{index}].port {value} is not between 1 and 65535")]
    Port {
        /// Which port of the list.
        index: usize,
        /// What stands there.
        value: i32,
    },
}

/// Istio's annotation for the visibility of a Service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// Converts a Kubernetes Service, of any type but ExternalName (see [`super::alias`]).
///
/// `domain`: the cluster's DNS suffix, `cluster.local`. `default`: the mesh's
/// `defaultServiceExportTo`. UDP ports are left out: the mesh does not carry them.
///
/// # Errors
/// [`ServiceError`] says which field cannot be used and what to do instead.
pub fn from_kubernetes(
    object: &core::Service,
    domain: &str,
    default: &DefaultExport,
) -> Result<Service, ServiceError> {
    let meta = &object.metadata;
    let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) else {
        return Err(ServiceError::Unnamed);
    };
    let spec = object.spec.clone().unwrap_or_default();
    let vips = cluster_ips(&spec)?;
    Ok(Service {
        hostname: format!("{name}.{namespace}.svc.{domain}").into(),
        name: name.clone(),
        namespace: namespace.clone(),
        object: name.clone(),
        resolution: if vips.is_empty() {
            Resolution::Passthrough
        } else {
            Resolution::Static
        },
        vips,
        ports: ports(&spec)?,
        external: false,
        registry: Registry::Kubernetes,
        export_to: export_to(meta, default, namespace),
        selector: spec
            .selector
            .clone()
            .filter(|selector| !selector.is_empty()),
        labels: meta.labels.clone().unwrap_or_default(),
        subject_alt_names: Vec::new(),
        created: created(meta),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
    })
}

/// Who sees a Kubernetes Service.
pub(super) fn export_to(meta: &ObjectMeta, default: &DefaultExport, namespace: &str) -> ExportTo {
    let annotations = meta.annotations.as_ref();
    let value = annotations.and_then(|annotations| annotations.get(EXPORT_TO));
    let values = value.map(String::as_str).unwrap_or_default().split(',');
    ExportTo::parse(values, default, namespace)
}

/// RFC 3339 time of an object's creation; empty when unknown.
pub(crate) fn created(meta: &ObjectMeta) -> String {
    meta.creation_timestamp
        .as_ref()
        .map(|time| time.0.to_string())
        .unwrap_or_default()
}

fn cluster_ips(spec: &core::ServiceSpec) -> Result<Vec<Vip>, ServiceError> {
    let mut texts: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
    if texts.is_empty() {
        texts.extend(&spec.cluster_ip);
    }
    texts
        .into_iter()
        .filter(|text| !text.is_empty() && *text != "None")
        .map(|text| {
            text.parse()
                .map(Vip::Ip)
                .map_err(|_| ServiceError::Address {
                    value: text.clone(),
                })
        })
        .collect()
}

fn ports(spec: &core::ServiceSpec) -> Result<Vec<ServicePort>, ServiceError> {
    let mut out = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let number = u16::try_from(port.port)
            .ok()
            .filter(|number| *number > 0)
            .ok_or(ServiceError::Port {
                index,
                value: port.port,
            })?;
        let transport = port.protocol.as_deref().unwrap_or("TCP");
        let protocol = Protocol::of_service_port(
            number,
            port.name.as_deref().unwrap_or_default(),
            port.app_protocol.as_deref(),
            transport,
        );
        if protocol == Protocol::Udp || transport != "TCP" {
            continue;
        }
        out.push(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            number,
            protocol,
            target: target_port(port.target_port.as_ref(), number),
        });
    }
    Ok(out)
}

fn target_port(target: Option<&IntOrString>, number: u16) -> TargetPort {
    match target {
        Some(IntOrString::Int(value)) => match u16::try_from(*value) {
            Ok(value) if value > 0 => TargetPort::Number(value),
            _ => TargetPort::Number(number),
        },
        Some(IntOrString::String(text)) => match text.parse() {
            Ok(value) => TargetPort::Number(value),
            Err(_) => TargetPort::Name(text.clone()),
        },
        None => TargetPort::Number(number),
    }
}
