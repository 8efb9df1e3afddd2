//! One execution of a probe: HTTP, TCP, gRPC health or a command.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// Runs a command in the probed container; the result is its exit code or why it could not run.
pub(crate) type ExecProbe =
    dyn Fn(Vec<String>) -> Pin<Box<dyn Future<Output = Result<i32, String>> + Send>> + Send + Sync;

/// What is asked, ready to be executed again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A request that must be answered with 200 to 399.
    Http {
        /// Where to connect.
        address: SocketAddr,
        /// Path and query.
        path: String,
        /// Headers in order.
        headers: Vec<(String, String)>,
    },
    /// A connection that must be accepted.
    Tcp(SocketAddr),
    /// `grpc.health.v1.Health/Check` that must answer SERVING.
    Grpc {
        /// Where to connect.
        address: SocketAddr,
        /// The service asked about; empty for the whole server.
        service: String,
    },
    /// A command that must exit with 0.
    Exec(Vec<String>),
}

impl Target {
    /// The target of a probe or hook of a container with these named ports.
    ///
    /// # Errors
    /// What is missing or cannot be understood.
    pub(crate) fn of(
        probe: &Probe,
        pod: IpAddr,
        ports: &BTreeMap<String, u16>,
    ) -> Result<Self, String> {
        if let Some(http) = &probe.http_get {
            return Self::http(http, pod, ports);
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Self::tcp(tcp, pod, ports);
        }
        if let Some(GRPCAction { port, service }) = &probe.grpc {
            let port = u16::try_from(*port).map_err(|_| format!("grpc.port {port} is no port"))?;
            let service = service.clone().unwrap_or_default();
            return Ok(Self::Grpc {
                address: SocketAddr::new(pod, port),
                service,
            });
        }
        match probe.exec.as_ref().and_then(|exec| exec.command.clone()) {
            Some(command) if !command.is_empty() => Ok(Self::Exec(command)),
            _ => Err("needs httpGet, tcpSocket, grpc or exec".to_owned()),
        }
    }

    /// The target of an `httpGet`.
    ///
    /// # Errors
    /// As [`Target::of`].
    pub(crate) fn http(
        http: &HTTPGetAction,
        pod: IpAddr,
        ports: &BTreeMap<String, u16>,
    ) -> Result<Self, String> {
        if http
            .scheme
            .as_deref()
            .is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http"))
        {
            return Err("httpGet.scheme: only HTTP can be probed here; use tcpSocket".to_owned());
        }
        let path = http.path.clone().unwrap_or_else(|| "/".to_owned());
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        let headers = http.http_headers.iter().flatten();
        Ok(Self::Http {
            address: SocketAddr::new(host(http.host.as_deref(), pod)?, port(&http.port, ports)?),
            path,
            headers: headers
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        })
    }

    /// The target of a `tcpSocket`.
    ///
    /// # Errors
    /// As [`Target::of`].
    pub(crate) fn tcp(
        tcp: &TCPSocketAction,
        pod: IpAddr,
        ports: &BTreeMap<String, u16>,
    ) -> Result<Self, String> {
        let address = SocketAddr::new(host(tcp.host.as_deref(), pod)?, port(&tcp.port, ports)?);
        Ok(Self::Tcp(address))
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why the answer is not a success, in one line.
    pub(crate) async fn check(&self, timeout: Duration, exec: &ExecProbe) -> Result<(), String> {
        let asked = async {
            match self {
                Self::Http {
                    address,
                    path,
                    headers,
                } => http_get(*address, path, headers).await,
                Self::Tcp(address) => connect(*address).await.map(drop),
                Self::Grpc { address, service } => grpc_health(*address, service).await,
                Self::Exec(command) => match exec(command.clone()).await? {
                    0 => Ok(()),
                    code => Err(format!("{} exited with {code}", command.join(" "))),
                },
            }
        };
        match tokio::time::timeout(timeout, Box::pin(asked)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }
}

fn host(host: Option<&str>, pod: IpAddr) -> Result<IpAddr, String> {
    match host {
        None | Some("") => Ok(pod),
        Some(host) => host
            .parse()
            .map_err(|_| format!("host {host} is not an IP address")),
    }
}

fn port(port: &IntOrString, ports: &BTreeMap<String, u16>) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => {
            u16::try_from(*number).map_err(|_| format!("port {number} is no port"))
        }
        IntOrString::String(name) => ports
            .get(name)
            .copied()
            .or_else(|| name.parse().ok())
            .ok_or_else(|| format!("port {name}: the container has no port of that name")),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("connect to {address}: {error}"))
}

async fn http_get(
    address: SocketAddr,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| format!("GET http://{address}{path}: {error}");
    let stream = connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| describe(&error))?;
    let mut request = http::Request::get(path);
    let named = |name: &str| {
        headers
            .iter()
            .any(|(header, _)| header.eq_ignore_ascii_case(name))
    };
    if !named("host") {
        request = request.header("host", address.to_string());
    }
    if !named("user-agent") {
        request = request.header("user-agent", "kube-probe/1.33");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| describe(&error))?;
    let driver = AbortOnDrop(tokio::spawn(connection));
    let response = sender.send_request(request).await;
    drop(driver);
    match response {
        Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
        Ok(response) => Err(describe(&response.status())),
        Err(error) => Err(describe(&error)),
    }
}

/// The task of a connection ends with the question asked over it, even if that timed out.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer to look for: field 1 (status) as varint 1 (SERVING).
const SERVING: [u8; 2] = [0x08, 0x01];

async fn grpc_health(address: SocketAddr, service: &str) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| format!("gRPC health of {address}: {error}");
    let stream = connect(address).await?;
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(|error| describe(&error))?;
    let driver = AbortOnDrop(tokio::spawn(connection));
    let asked = async {
        let mut sender = sender.ready().await.map_err(|error| describe(&error))?;
        let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "kube-probe/1.33")
            .body(())
            .map_err(|error| describe(&error))?;
        let (response, mut body) = sender
            .send_request(request, false)
            .map_err(|error| describe(&error))?;
        body.send_data(health_request(service), true)
            .map_err(|error| describe(&error))?;
        let response = response.await.map_err(|error| describe(&error))?;
        read_health(response)
            .await
            .map_err(|error| describe(&error))
    };
    let result = asked.await;
    drop(driver);
    result
}

fn health_request(service: &str) -> Bytes {
    // HealthCheckRequest { service = 1 }; names longer than 127 bytes need a two-byte length.
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

async fn read_health(response: http::Response<h2::RecvStream>) -> Result<(), String> {
    let trailers_only = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| error.to_string())?;
        message.extend_from_slice(&piece);
        if message.len() > 4096 {
            return Err("the answer is too large".to_owned());
        }
        body.flow_control()
            .release_capacity(piece.len())
            .map_err(|error| error.to_string())?;
    }
    let trailers = body.trailers().await.map_err(|error| error.to_string())?;
    let status = trailers_only.or_else(|| trailers.and_then(|mut all| all.remove("grpc-status")));
    match status {
        Some(status) if status != "0" => Err(format!("gRPC status {status:?}")),
        _ if message.get(5..) == Some(&SERVING) => Ok(()),
        _ => Err("not serving".to_owned()),
    }
}

/// A plain HTTP/1.1 request over an open stream; the whole answer as status and text.
///
/// # Errors
/// What went wrong, in one line.
pub(crate) async fn request(
    stream: TcpStream,
    method: &str,
    path: &str,
    host: &str,
) -> Result<(u16, String), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = AbortOnDrop(tokio::spawn(connection));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let result = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok((
            status,
            String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        ))
    };
    let result = result.await;
    drop(driver);
    result
}

#[cfg(test)]
mod tests;
