//! The protocol of a service port, declared or to be detected.
//!
//! Source: Istio's protocol selection: `appProtocol`, else the port name's prefix up to the first
//! `-`, else detection, except on ports whose servers speak first.

/// What travels on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.x.
    Http,
    /// HTTP/2 in clear text (prior knowledge).
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, served over HTTP/2 upstream.
    GrpcWeb,
    /// HTTP through a forward proxy (only in Sidecar egress listeners).
    HttpProxy,
    /// Opaque bytes.
    Tcp,
    /// TLS that the mesh does not terminate, routed by SNI.
    Tls,
    /// HTTPS that the mesh does not terminate (except at gateways).
    Https,
    /// MongoDB's wire protocol, forwarded as bytes; the server speaks first.
    Mongo,
    /// MySQL's wire protocol, forwarded as bytes; the server speaks first.
    MySql,
    /// Redis, forwarded as bytes.
    Redis,
    /// Not carried by the mesh.
    Udp,
    /// Nothing declared: HTTP or bytes is detected per connection.
    Undeclared,
}

/// How a listener treats a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP connection manager.
    Http,
    /// TCP proxy.
    Tcp,
    /// Both, told apart per connection.
    Auto,
}

impl Protocol {
    /// The protocol that a name stands for, in any case, as in `ServiceEntry.ports[].protocol`.
    ///
    /// An unknown name is [`Protocol::Undeclared`].
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "http_proxy" => Self::HttpProxy,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "https" => Self::Https,
            "mongo" => Self::Mongo,
            "mysql" => Self::MySql,
            "redis" => Self::Redis,
            "udp" => Self::Udp,
            _ => Self::Undeclared,
        }
    }

    /// The protocol of a Kubernetes service port.
    ///
    /// `transport`: `TCP`, `UDP` or `SCTP` (the port's `protocol` field, `TCP` when absent).
    /// `app_protocol`, when there, replaces the port's name.
    pub fn of_port(
        port: u16,
        name: Option<&str>,
        transport: Option<&str>,
        app_protocol: Option<&str>,
    ) -> Self {
        if matches!(transport, Some("UDP" | "SCTP")) {
            return Self::Udp;
        }
        let name = app_protocol.or(name).unwrap_or_default();
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Https,
            _ => {}
        }
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("grpc-web") {
            return Self::GrpcWeb;
        }
        let prefix = lower.split('-').next().unwrap_or_default();
        match Self::parse(prefix) {
            Self::Undeclared if SERVER_FIRST_PORTS.contains(&port) => Self::Tcp,
            protocol => protocol,
        }
    }

    /// Whether an HTTP connection manager serves it without detection.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy
        )
    }

    /// Whether upstream connections speak HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether it is forwarded as bytes.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Tls | Self::Https | Self::Mongo | Self::MySql | Self::Redis
        )
    }

    /// Whether the client starts with a TLS hello of its own.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether routes of virtual services apply to it (HTTP, or maybe HTTP).
    pub fn is_http_or_undeclared(self) -> bool {
        self.is_http() || self == Self::Undeclared
    }

    /// What it is once a gateway has terminated TLS.
    pub fn after_tls_termination(self) -> Self {
        match self {
            Self::Https => Self::Http,
            Self::Tls => Self::Tcp,
            other => other,
        }
    }

    /// How a listener treats it; `None` for UDP, which the mesh does not carry.
    pub fn listener(self) -> Option<ListenerProtocol> {
        match self {
            Self::Udp => None,
            Self::Undeclared => Some(ListenerProtocol::Auto),
            other if other.is_http() => Some(ListenerProtocol::Http),
            _ => Some(ListenerProtocol::Tcp),
        }
    }
}

/// SMTP, DNS, MySQL, MongoDB: detection would wait for a client that waits for the server.
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];
