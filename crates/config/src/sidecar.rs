//! Sidecar: what a workload's proxy listens on and can reach.
//!
//! Source: Istio API `networking/v1/sidecar.proto`.

use std::net::{IpAddr, SocketAddr};

use crate::destination_rule::ConnectionPool;
use crate::gateway::NamespaceScope;
use crate::host::HostPattern;
use crate::number::PortNumber;
use crate::protocol::Protocol;
use crate::selector::LabelSelector;

/// Scope of the proxies of a namespace, or of those the selector picks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sidecar {
    /// Workloads; `None` means the whole namespace (or, in the root namespace, the whole mesh).
    pub workload_selector: Option<LabelSelector>,
    /// Inbound listeners; empty means: from the workload's services, as without a Sidecar.
    pub ingress: Vec<IngressListener>,
    /// Outbound listeners; empty means: everything visible, as without a Sidecar.
    pub egress: Vec<EgressListener>,
    /// What happens to traffic to unknown destinations; `None` means the mesh's setting.
    pub outbound_traffic_policy: Option<OutboundMode>,
    /// Limits of inbound connections.
    pub inbound_connection_pool: Option<ConnectionPool>,
}

/// What happens to traffic to destinations the mesh does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OutboundMode {
    /// Refused.
    RegistryOnly,
    /// Sent where the caller dialled. The mesh's default.
    #[default]
    AllowAny,
}

/// A port of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SidecarPort {
    /// Number.
    pub number: PortNumber,
    /// Protocol.
    pub protocol: Protocol,
    /// Name; may be empty.
    pub name: String,
}

/// One inbound listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IngressListener {
    /// Port that callers dial.
    pub port: SidecarPort,
    /// Address to bind; `None` means the pod's.
    pub bind: Option<IpAddr>,
    /// How traffic comes to the listener.
    pub capture_mode: CaptureMode,
    /// Where the traffic goes.
    pub default_endpoint: IngressEndpoint,
    /// Limits of its connections.
    pub connection_pool: Option<ConnectionPool>,
}

/// Where inbound traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IngressEndpoint {
    /// To the same port of the pod (no `defaultEndpoint`).
    SamePort,
    /// To this loopback address.
    Loopback(SocketAddr),
    /// To this port of the pod's address (`0.0.0.0:PORT` or `[::]:PORT`).
    PodAddress(PortNumber),
    /// To this Unix domain socket.
    Unix(String),
}

/// How traffic comes to a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// As the environment does it.
    #[default]
    Default,
    /// Redirected.
    Iptables,
    /// Sent to the listener's address by the application.
    None,
}

/// One outbound listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressListener {
    /// Port; `None` for the listener of all other ports (the last in the list).
    pub port: Option<SidecarPort>,
    /// Address to bind, with a port only.
    pub bind: Option<EgressBind>,
    /// How traffic comes to the listener.
    pub capture_mode: CaptureMode,
    /// Services that it reaches; at least one.
    pub hosts: Vec<EgressHost>,
}

/// Where an outbound listener binds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EgressBind {
    /// An address.
    Ip(IpAddr),
    /// A Unix domain socket.
    Unix(String),
}

/// `namespace/host`: the services (and their rules) that a listener reaches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressHost {
    /// Namespaces of the services.
    pub namespace: NamespaceScope,
    /// Their hosts.
    pub host: HostPattern,
}

impl EgressHost {
    /// Whether a service `host` in `namespace` is reached.
    pub fn contains(&self, namespace: &str, host: &str) -> bool {
        self.namespace.contains(namespace) && self.host.matches(host)
    }
}
