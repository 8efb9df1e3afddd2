//! Application protocols of ports.

use std::fmt;
use std::str::FromStr;

/// What a port speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0).
    Http,
    /// HTTP/2 in plain text.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// HTTP within TLS.
    Https,
    /// TLS, routed by SNI.
    Tls,
    /// Bytes.
    Tcp,
    /// MongoDB; treated as bytes.
    Mongo,
    /// MySQL; treated as bytes (its server speaks first, so it is never detected).
    MySql,
    /// Redis; treated as bytes.
    Redis,
    /// Datagrams; not proxied.
    Udp,
    /// Not declared: detected from the first bytes.
    #[default]
    Undeclared,
}

impl Protocol {
    /// Whether requests are routed one by one: HTTP, HTTP/2, gRPC, gRPC-Web.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb
        )
    }

    /// Whether the upstream connection speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Whether the bytes are TLS as the application sends them: HTTPS and TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }

    /// Whether connections are routed as bytes (TLS included).
    pub fn is_tcp(self) -> bool {
        self.is_tls()
            || matches!(
                self,
                Protocol::Tcp | Protocol::Mongo | Protocol::MySql | Protocol::Redis
            )
    }

    /// The protocol of a Kubernetes service port: `appProtocol` first, then the name up to the
    /// first `-` (`http`, `grpc-web-x`, ...), else [`Protocol::Undeclared`]. `transport` is the
    /// port's `protocol` (`TCP`, `UDP`); the well-known port 3306 is MySQL.
    ///
    /// Source: Istio, protocol selection.
    pub fn of_service_port(
        port: u16,
        name: &str,
        app_protocol: Option<&str>,
        transport: &str,
    ) -> Protocol {
        if transport == "UDP" {
            return Protocol::Udp;
        }
        if let Some(app) = app_protocol {
            return match app {
                // Names registered by Kubernetes (KEP 3726).
                "kubernetes.io/h2c" => Protocol::Http2,
                "kubernetes.io/ws" => Protocol::Http,
                "kubernetes.io/wss" => Protocol::Https,
                other => Protocol::from_port_name(other),
            };
        }
        // Its server speaks first: detection would wait for nothing.
        match Protocol::from_port_name(name) {
            Protocol::Undeclared if port == 3306 => Protocol::MySql,
            found => found,
        }
    }

    /// The protocol a port's name says: the whole name or its part before the first `-`, any case.
    pub fn from_port_name(name: &str) -> Protocol {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Protocol::GrpcWeb;
        }
        let word = lower.split('-').next().unwrap_or_default();
        match word {
            "udp" => Protocol::Udp,
            _ => word.parse().unwrap_or(Protocol::Undeclared),
        }
    }
}

/// The text names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a protocol: use one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL, REDIS"
)]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Protocol::Http),
            "http2" => Ok(Protocol::Http2),
            "grpc" => Ok(Protocol::Grpc),
            "grpc-web" => Ok(Protocol::GrpcWeb),
            "https" => Ok(Protocol::Https),
            "tls" => Ok(Protocol::Tls),
            "tcp" => Ok(Protocol::Tcp),
            "mongo" => Ok(Protocol::Mongo),
            "mysql" => Ok(Protocol::MySql),
            "redis" => Ok(Protocol::Redis),
            "udp" => Ok(Protocol::Udp),
            _ => Err(ProtocolError(text.to_owned())),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http => "HTTP",
            Protocol::Http2 => "HTTP2",
            Protocol::Grpc => "GRPC",
            Protocol::GrpcWeb => "GRPC-Web",
            Protocol::Https => "HTTPS",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
            Protocol::Mongo => "Mongo",
            Protocol::MySql => "MySQL",
            Protocol::Redis => "Redis",
            Protocol::Udp => "UDP",
            Protocol::Undeclared => "undeclared",
        })
    }
}
