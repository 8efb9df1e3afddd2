//! The client side: one request or one line, and what came back.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Args)]
pub(crate) struct Get {
    /// `http://HOST:PORT/PATH`; port 80 unless told.
    url: Uri,
    /// A header, `NAME: VALUE`.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// Method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: http::Method,
    /// HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
    /// Seconds to wait for the whole answer.
    #[arg(long, default_value_t = 20)]
    timeout: u64,
}

#[derive(Args)]
pub(crate) struct Tcp {
    /// HOST:PORT
    to: String,
    /// The line to send.
    line: String,
    /// Seconds to wait.
    #[arg(long, default_value_t = 20)]
    timeout: u64,
}

/// Exit code 0: an HTTP answer came, whatever its status; 1: none did.
pub(crate) async fn get(options: &Get) -> anyhow::Result<ExitCode> {
    let answer =
        tokio::time::timeout(Duration::from_secs(options.timeout), exchange(options)).await;
    print(answer.context("timed out").flatten())
}

pub(crate) async fn tcp(options: &Tcp) -> anyhow::Result<ExitCode> {
    let answer = tokio::time::timeout(Duration::from_secs(options.timeout), line(options)).await;
    print(answer.context("timed out").flatten())
}

fn print(answer: anyhow::Result<String>) -> anyhow::Result<ExitCode> {
    let (text, code) = match answer {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("no answer: {error:#}\n"), ExitCode::FAILURE),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(code)
}

async fn exchange(options: &Get) -> anyhow::Result<String> {
    let host = options.url.host().context("the URL has no host")?;
    let authority = options.url.authority().context("the URL has no host")?;
    let stream = TcpStream::connect((host, options.url.port_u16().unwrap_or(80)))
        .await
        .context("connect")?;
    let path = options
        .url
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let uri = if options.http2 {
        options.url.to_string()
    } else {
        path.to_owned()
    };
    let mut request = Request::builder().method(options.method.clone()).uri(uri);
    let mut host_given = options.http2;
    for header in &options.headers {
        let (name, value) = header.split_once(':').context("a header is NAME: VALUE")?;
        host_given |= name.eq_ignore_ascii_case("host");
        request = request.header(name, value.trim());
    }
    if !host_given {
        request = request.header("host", authority.as_str());
    }
    let request = request.body(Full::<Bytes>::default())?;
    let response = if options.http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let (parts, body) = response.into_parts();
    let mut told = format!("{}\n", parts.status.as_u16());
    for (name, value) in &parts.headers {
        told += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let body = body.collect().await.context("read the body")?.to_bytes();
    Ok(format!("{told}\n{}", String::from_utf8_lossy(&body)))
}

async fn line(options: &Tcp) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(&options.to).await.context("connect")?;
    stream.write_all(options.line.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(!answer.is_empty(), "the other side closed without a word");
    Ok(answer + "\n")
}
