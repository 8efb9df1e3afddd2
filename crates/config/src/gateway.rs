//! Gateway: listeners of ingress and egress gateways.
//!
//! Source: Istio API `networking/v1/gateway.proto`.

use std::net::IpAddr;

use crate::host::HostPattern;
use crate::number::PortNumber;
use crate::protocol::Protocol;
use crate::selector::LabelSelector;
use crate::tls::ServerTls;

/// Listeners for the proxies that the selector picks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// Labels of the gateway's pods. Looked up in all namespaces, as in Istio.
    pub selector: LabelSelector,
    /// At least one.
    pub servers: Vec<Server>,
}

/// One listener and the hosts it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// Name, if any; unique within the mesh.
    pub name: Option<String>,
    /// Port the gateway's proxy listens on (as its Service exposes it).
    pub port: ServerPort,
    /// Address to bind; `None` means all.
    pub bind: Option<IpAddr>,
    /// At least one.
    pub hosts: Vec<ServerHost>,
    /// What the port does with TLS.
    pub tls: Option<ServerTls>,
    /// Answer plain HTTP with 301 to HTTPS.
    pub https_redirect: bool,
}

/// A server's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerPort {
    /// Number.
    pub number: PortNumber,
    /// Protocol; never `Undeclared`.
    pub protocol: Protocol,
    /// Name, not empty.
    pub name: String,
}

/// Hosts a server takes, and from which namespaces VirtualServices may bind to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerHost {
    /// Namespaces of the VirtualServices.
    pub namespace: NamespaceScope,
    /// The hosts.
    pub host: HostPattern,
}

impl ServerHost {
    /// Whether a VirtualService in `namespace` with `host` may be bound. `.` was resolved when decoding.
    pub fn admits(&self, namespace: &str, host: &HostPattern) -> bool {
        self.namespace.contains(namespace) && self.host.overlaps(host)
    }
}

/// The namespace part of `namespace/host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceScope {
    /// `*`, or no namespace part.
    Any,
    /// One namespace; `.` was resolved to the object's own.
    Only(String),
    /// `~`: none (Sidecar only).
    None,
}

impl NamespaceScope {
    /// Whether `namespace` is in scope.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            NamespaceScope::Any => true,
            NamespaceScope::Only(only) => only == namespace,
            NamespaceScope::None => false,
        }
    }
}
