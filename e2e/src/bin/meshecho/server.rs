//! The server side: HTTP, gRPC health, TCP echo, and a protocol in which the server speaks first.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// The line with which the server-first protocol greets.
pub(crate) const GREETING: &[u8] = b"220 meshecho ready\r\n";
/// A gRPC message: not compressed, 2 bytes, `HealthCheckResponse{status: SERVING}`.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

#[derive(Args)]
pub(crate) struct Options {
    /// Ports that answer HTTP/1.1, HTTP/2 and gRPC health checks.
    #[arg(long)]
    http: Vec<u16>,
    /// Ports that answer the same over TLS, with a certificate that nobody has signed.
    #[arg(long)]
    tls: Vec<u16>,
    /// Ports that send back what they get.
    #[arg(long)]
    tcp: Vec<u16>,
    /// Ports that greet before they read.
    #[arg(long)]
    greet: Vec<u16>,
    /// A name to tell in answers.
    #[arg(long, env = "HOSTNAME", default_value = "meshecho")]
    name: String,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    for port in &options.http {
        let name: &'static str = options.name.clone().leak();
        accept(*port, move |stream| serve_http(stream, name)).await?;
    }
    for port in &options.tls {
        let name: &'static str = options.name.clone().leak();
        let acceptor = self_signed()?;
        accept(*port, move |stream| {
            serve_https(stream, acceptor.clone(), name)
        })
        .await?;
    }
    for port in &options.tcp {
        accept(*port, echo).await?;
    }
    for port in &options.greet {
        accept(*port, greet).await?;
    }
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

async fn accept<F>(port: u16, serve: impl Fn(TcpStream) -> F + Send + 'static) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .with_context(|| format!("listen on port {port}"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(())
}

fn self_signed() -> anyhow::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["meshecho.invalid".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve_https(stream: TcpStream, acceptor: TlsAcceptor, name: &'static str) {
    if let Ok(stream) = acceptor.accept(stream).await {
        Box::pin(serve_http(stream, name)).await;
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    name: &'static str,
) {
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, name).await) });
    let server = auto::Builder::new(TokioExecutor::new());
    // A client that hangs up is no event.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, name: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/grpc.health.v1.Health/Check" {
        return serving();
    }
    if parts.uri.path() == "/metrics" {
        return metrics(name);
    }
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    if let Some(millis) = parts.uri.path().strip_prefix("/delay/") {
        let millis = millis.parse().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let told = json!({
        "name": name,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "version": format!("{:?}", parts.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{told}\n"))).boxed());
    let status = parts
        .uri
        .path()
        .strip_prefix("/status/")
        .and_then(|code| code.parse().ok());
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    response
}

fn metrics(name: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let text = format!("# TYPE meshecho_up gauge\nmeshecho_up{{name=\"{name}\"}} 1\n");
    Response::new(Full::new(Bytes::from(text)).boxed())
}

fn serving() -> Response<BoxBody<Bytes, Infallible>> {
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let body =
        Full::new(Bytes::from_static(SERVING)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

async fn greet(mut stream: TcpStream) {
    if stream.write_all(GREETING).await.is_ok() {
        echo(stream).await;
    }
}
