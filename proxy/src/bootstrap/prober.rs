//! `ISTIO_KUBE_APP_PROBERS`: the application's probes that the injector redirected to us.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// One redirected probe. Exactly one kind is set in the JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prober {
    /// HTTP GET.
    Http(HttpProbe),
    /// TCP connect.
    Tcp(TcpProbe),
    /// gRPC health check.
    Grpc(GrpcProbe),
}

/// Scheme of an HTTP probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS, whose certificate is not checked (as the kubelet does).
    Https,
}

/// HTTP GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// Port of the application.
    pub port: u16,
    /// Path with query, starting with a slash.
    pub path: String,
    /// Scheme.
    pub scheme: Scheme,
    /// Value of `Host`, if set.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Time limit.
    pub timeout: Duration,
}

/// TCP connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpProbe {
    /// Port of the application.
    pub port: u16,
    /// Time limit.
    pub timeout: Duration,
}

/// gRPC health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcProbe {
    /// Port of the application.
    pub port: u16,
    /// Service name in the request, empty for the whole server.
    pub service: String,
    /// Time limit.
    pub timeout: Duration,
}

/// The kubelet's default probe timeout.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProber {
    http_get: Option<RawHttp>,
    tcp_socket: Option<RawTcp>,
    grpc: Option<RawGrpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttp {
    path: Option<String>,
    port: serde_json::Value,
    scheme: Option<String>,
    host: Option<String>,
    #[serde(default)]
    http_headers: Vec<RawHeader>,
}

#[derive(Deserialize)]
struct RawHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct RawTcp {
    port: serde_json::Value,
}

#[derive(Deserialize)]
struct RawGrpc {
    port: serde_json::Value,
    service: Option<String>,
}

/// Parses the JSON object path -> probe. The error says which path and why.
pub(super) fn parse(json: &str) -> Result<BTreeMap<String, Prober>, String> {
    let raw: BTreeMap<String, RawProber> =
        serde_json::from_str(json).map_err(|error| error.to_string())?;
    raw.into_iter()
        .map(|(path, raw)| match convert(raw) {
            Ok(prober) => Ok((path, prober)),
            Err(reason) => Err(format!("{path}: {reason}")),
        })
        .collect()
}

fn convert(raw: RawProber) -> Result<Prober, String> {
    let timeout = Duration::from_secs(
        raw.timeout_seconds
            .filter(|s| *s > 0)
            .unwrap_or(DEFAULT_TIMEOUT_SECONDS),
    );
    match (raw.http_get, raw.tcp_socket, raw.grpc) {
        (Some(http), None, None) => convert_http(http, timeout).map(Prober::Http),
        (None, Some(tcp), None) => Ok(Prober::Tcp(TcpProbe {
            port: port(&tcp.port)?,
            timeout,
        })),
        (None, None, Some(grpc)) => Ok(Prober::Grpc(GrpcProbe {
            port: port(&grpc.port)?,
            service: grpc.service.unwrap_or_default(),
            timeout,
        })),
        _ => Err("exactly one of httpGet, tcpSocket, grpc must be set".to_owned()),
    }
}

fn convert_http(raw: RawHttp, timeout: Duration) -> Result<HttpProbe, String> {
    let scheme = match raw.scheme.as_deref() {
        None | Some("" | "HTTP") => Scheme::Http,
        Some("HTTPS") => Scheme::Https,
        Some(other) => return Err(format!("scheme {other:?} is neither HTTP nor HTTPS")),
    };
    let path = raw
        .path
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    Ok(HttpProbe {
        port: port(&raw.port)?,
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        scheme,
        host: raw.host.filter(|host| !host.is_empty()),
        headers: raw
            .http_headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect(),
        timeout,
    })
}

fn port(value: &serde_json::Value) -> Result<u16, String> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("port {value} is not a number from 1 to 65535 (named ports are resolved by the injector)"))
}
