//! Settings of this process, read once at start from the environment and files that the
//! injector provides. A wrong or missing value is one clear error.

mod duration;
mod env;
mod node;
mod prober;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::{SpiffeId, TrustDomain};

pub use env::{BootstrapError, Source, from_environment};
pub use node::Node;
pub use prober::{GrpcProbe, HttpProbe, Prober, Scheme, TcpProbe};

/// Port of the admin interface, on localhost.
pub const ADMIN_PORT: u16 = 15000;
/// Port of captured outbound connections.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port of captured inbound connections.
pub const INBOUND_PORT: u16 = 15006;
/// Port of merged metrics and rewritten probes.
pub const STATUS_PORT: u16 = 15020;
/// Port of readiness.
pub const READINESS_PORT: u16 = 15021;
/// Port of the proxy's own metrics.
pub const METRICS_PORT: u16 = 15090;

/// The control plane's port without TLS.
pub const PLAINTEXT_PORT: u16 = 15010;
/// The control plane's port with TLS.
pub const SECURE_PORT: u16 = 15012;

/// Kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Beside an application, with captured traffic.
    Sidecar,
    /// A gateway.
    Router,
}

impl Role {
    /// The first part of the node id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// Address of the control plane or the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlAddress {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: Transport,
}

/// How the control plane is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS, checked against the root certificate file.
    Tls,
    /// Plaintext, to [`PLAINTEXT_PORT`] only; no token is sent.
    Plaintext,
}

impl ControlAddress {
    /// An address; the port decides the transport.
    pub fn new(host: &str, port: u16) -> Self {
        let transport = if port == PLAINTEXT_PORT {
            Transport::Plaintext
        } else {
            Transport::Tls
        };
        Self {
            host: host.to_owned(),
            port,
            transport,
        }
    }

    /// Whether TLS is spoken.
    pub fn uses_tls(&self) -> bool {
        self.transport == Transport::Tls
    }
}

impl std::fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where the application's own metrics are, from `ISTIO_PROMETHEUS_ANNOTATIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppMetrics {
    /// Port.
    pub port: u16,
    /// Path, `/metrics` by default.
    pub path: String,
}

/// All settings. See the contract of the sidecar container.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Sidecar or gateway.
    pub role: Role,
    /// Identity towards control plane and peers.
    pub node: Node,
    /// Our own SPIFFE id.
    pub id: SpiffeId,
    /// The mesh's trust domain.
    pub trust_domain: TrustDomain,
    /// Address of the pod.
    pub instance_ip: IpAddr,
    /// xDS server.
    pub discovery: ControlAddress,
    /// Certificate authority.
    pub authority: ControlAddress,
    /// Lifetime asked for certificates.
    pub certificate_ttl: Duration,
    /// File of the service-account token.
    pub token_path: PathBuf,
    /// File of the control plane's root certificates.
    pub root_cert_path: PathBuf,
    /// Worker threads, at least 1.
    pub concurrency: usize,
    /// How long connections are discouraged before the end, while traffic goes on.
    pub termination_drain: Duration,
    /// How long a listener that was removed by configuration keeps its TCP connections; those of
    /// HTTP end with their next response.
    pub drain: Duration,
    /// End the drain as soon as no connection is left.
    pub exit_on_zero_connections: bool,
    /// Shortest drain when [`Bootstrap::exit_on_zero_connections`] is set.
    pub minimum_drain: Duration,
    /// Admin interface.
    pub admin: SocketAddr,
    /// Merged metrics and probes.
    pub status: SocketAddr,
    /// Readiness.
    pub readiness: SocketAddr,
    /// The proxy's own metrics.
    pub metrics: SocketAddr,
    /// Rewritten probes by path.
    pub probers: Arc<BTreeMap<String, Prober>>,
    /// The application's metrics to merge, if any.
    pub app_metrics: Option<AppMetrics>,
    /// Log filter.
    pub log_filter: String,
}

#[cfg(test)]
pub(crate) mod tests;
