//! Rewritten probes: the kubelet asks us on 15020, we ask the application on the pod's
//! address from 127.0.0.6, which the capture rules let pass.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_identity::tls::web::{self, ServerTrust, Versions};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::bootstrap::{GrpcProbe, HttpProbe, Prober, Scheme};

/// Source address of probes. Source: Istio's `InboundPassthroughBindIpv4` and `...Ipv6`.
const SOURCE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// Largest gRPC health answer that is read; real ones have 7 bytes.
const MAX_GRPC_ANSWER_BYTES: usize = 4096;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("connect to the application at {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("application at {address} did not answer within {after:?}")]
    Timeout {
        address: SocketAddr,
        after: Duration,
    },
    #[error("TLS with the application at {address}")]
    Tls {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("HTTP with the application at {address}")]
    Http {
        address: SocketAddr,
        #[source]
        source: hyper::Error,
    },
    #[error("probe {what} is not valid: {reason}")]
    Invalid { what: String, reason: String },
    #[error("gRPC health service of {address} {reason}")]
    Unhealthy { address: SocketAddr, reason: String },
}

/// Connects to the application.
#[derive(Debug)]
pub(super) struct Dialer {
    pod: IpAddr,
    source: IpAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    pub(super) fn new(pod: IpAddr) -> Self {
        let source = if pod.is_ipv4() { SOURCE_V4 } else { SOURCE_V6 };
        // The kubelet does not check the certificate of an HTTPS probe either.
        let tls = web::client_config(&ServerTrust::Unchecked, None, Versions::default(), &[]);
        let tls = tls
            .inspect_err(|error| tracing::error!(%error, "HTTPS probes will fail"))
            .ok();
        Self { pod, source, tls }
    }

    /// Runs a probe; the status to pass on.
    pub(super) async fn probe(
        &self,
        prober: &Prober,
        headers: &HeaderMap,
    ) -> Result<StatusCode, ProbeError> {
        let (port, timeout) = match prober {
            Prober::Http(http) => (http.port, http.timeout),
            Prober::Tcp(tcp) => (tcp.port, tcp.timeout),
            Prober::Grpc(grpc) => (grpc.port, grpc.timeout),
        };
        let address = SocketAddr::new(self.pod, port);
        let probed = async {
            match prober {
                Prober::Http(http) => self.http(address, http, headers).await,
                Prober::Tcp(_) => self.dial(address).await.map(|_| StatusCode::OK),
                Prober::Grpc(grpc) => self.grpc(address, grpc).await,
            }
        };
        match tokio::time::timeout(timeout, probed).await {
            Ok(result) => result,
            Err(_) => Err(ProbeError::Timeout {
                address,
                after: timeout,
            }),
        }
    }

    async fn dial(&self, address: SocketAddr) -> Result<TcpStream, ProbeError> {
        let connected = async {
            mesh_sys::socket::new_outbound(address, Some(self.source), None)?
                .connect(address)
                .await
        };
        connected
            .await
            .map_err(|source| ProbeError::Connect { address, source })
    }

    async fn http(
        &self,
        address: SocketAddr,
        probe: &HttpProbe,
        came: &HeaderMap,
    ) -> Result<StatusCode, ProbeError> {
        let mut request = get(&probe.path, &address.to_string())?;
        if let Some(agent) = came.get(USER_AGENT) {
            request.headers_mut().insert(USER_AGENT, agent.clone());
        }
        if let Some(host) = &probe.host {
            request
                .headers_mut()
                .insert(HOST, header_value("Host", host)?);
        }
        for (name, value) in &probe.headers {
            let key =
                HeaderName::try_from(name.as_str()).map_err(|error| invalid("header", error))?;
            request
                .headers_mut()
                .insert(key, header_value(name, value)?);
        }
        let tls = probe.scheme == Scheme::Https;
        // Redirects are passed on: the kubelet takes any status below 400 as success.
        Ok(self.exchange(address, tls, request).await?.status())
    }

    /// Gets a path of the application over plaintext; the whole body, limited.
    pub(super) async fn fetch(
        &self,
        port: u16,
        path: &str,
        headers: HeaderMap,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, ProbeError> {
        let address = SocketAddr::new(self.pod, port);
        let mut request = get(path, &address.to_string())?;
        request.headers_mut().extend(headers);
        let (parts, body) = self.exchange(address, false, request).await?.into_parts();
        let body = Limited::new(body, max_bytes)
            .collect()
            .await
            .map_err(|error| ProbeError::Invalid {
                what: path.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        tls: bool,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, ProbeError> {
        let stream = self.dial(address).await?;
        // Boxed, so that a probe costs kilobytes only while it runs.
        match (&self.tls, tls) {
            (Some(config), true) => {
                let name = ServerName::from(address.ip());
                let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                let stream = Box::pin(connected).await;
                let stream = stream.map_err(|source| ProbeError::Tls { address, source })?;
                Box::pin(send(address, stream, request)).await
            }
            _ => Box::pin(send(address, stream, request)).await,
        }
    }

    async fn grpc(&self, address: SocketAddr, probe: &GrpcProbe) -> Result<StatusCode, ProbeError> {
        let failed = |source| ProbeError::Http { address, source };
        let stream = self.dial(address).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let connection = tokio::task::spawn_local(connection);
        let outcome = async {
            let response = sender
                .send_request(grpc_request(address, probe))
                .await
                .map_err(failed)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_GRPC_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| ProbeError::Unhealthy {
                address,
                reason: error.to_string(),
            })?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            judge(&head.headers, &trailers, &body.to_bytes())
                .map_err(|reason| ProbeError::Unhealthy { address, reason })
        };
        let outcome = outcome.await;
        connection.abort();
        outcome.map(|()| StatusCode::OK)
    }
}

fn get(path: &str, host: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let path = PathAndQuery::try_from(path).map_err(|error| invalid("path", error))?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from(path);
    request
        .headers_mut()
        .insert(HOST, header_value("Host", host)?);
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, ProbeError> {
    HeaderValue::try_from(value).map_err(|error| invalid(name, error))
}

fn invalid(what: &str, error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Invalid {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

async fn send<S>(
    address: SocketAddr,
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<hyper::body::Incoming>, ProbeError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let failed = |source| ProbeError::Http { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Ends by itself: the request asks to close, and the caller drops sender or body.
    tokio::task::spawn_local(connection);
    sender.send_request(request).await.map_err(failed)
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

fn grpc_request(address: SocketAddr, probe: &GrpcProbe) -> Request<http_body_util::Full<Bytes>> {
    let message = HealthCheckRequest {
        service: probe.service.clone(),
    }
    .encode_to_vec();
    let mut body = vec![0];
    // A service name is far shorter than 4 GiB.
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    let mut request = Request::new(http_body_util::Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()
        .expect("an address and a constant path make a URI");
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    request
}

fn judge(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let status = trailers
        .get("grpc-status")
        .or_else(|| headers.get("grpc-status"));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(code) => {
            return Err(format!(
                "answered gRPC status {}",
                String::from_utf8_lossy(code)
            ));
        }
        None => return Err("answered without a gRPC status".to_owned()),
    }
    let message = body.get(5..).unwrap_or_default();
    match HealthCheckResponse::decode(message) {
        Ok(answer) if answer.status == SERVING => Ok(()),
        Ok(answer) => Err(format!("answered serving status {}", answer.status)),
        Err(error) => Err(format!("answered something else: {error}")),
    }
}

#[cfg(test)]
mod tests;
