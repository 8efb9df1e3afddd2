//! `meshproxy wait`: returns once the proxy of this pod is ready. The injector makes it the
//! proxy's post-start hook where the application must not start before.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::bootstrap::READINESS_PORT;

/// Flags of `meshproxy wait`, named as those of Istio's agent.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Give up after so many seconds.
    #[arg(long = "timeoutSeconds", default_value_t = 60, value_name = "SECONDS")]
    pub timeout_seconds: u64,
    /// Time between attempts in milliseconds.
    #[arg(
        long = "periodMillis",
        default_value_t = 500,
        value_name = "MILLISECONDS"
    )]
    pub period_millis: u64,
    /// Time limit of one attempt in milliseconds.
    #[arg(
        long = "requestTimeoutMillis",
        default_value_t = 500,
        value_name = "MILLISECONDS"
    )]
    pub request_timeout_millis: u64,
}

/// The proxy did not become ready.
#[derive(Debug, thiserror::Error)]
#[error("proxy is not ready after {seconds} s: {reason}")]
pub struct NotReady {
    seconds: u64,
    reason: String,
}

/// Asks the readiness port until it answers 200.
///
/// # Errors
/// [`NotReady`] with the last reason once the time is over.
pub async fn run(arguments: &Args) -> Result<(), NotReady> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, READINESS_PORT));
    wait_for(address, arguments).await
}

async fn wait_for(address: SocketAddr, arguments: &Args) -> Result<(), NotReady> {
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout_seconds);
    let limit = Duration::from_millis(arguments.request_timeout_millis);
    loop {
        let reason = match timeout(limit, ask(address, "GET /healthz/ready")).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(reason))) => reason,
            Ok(Err(error)) => format!("ask {address}: {error}"),
            Err(_) => format!("{address} does not answer within {limit:?}"),
        };
        if Instant::now() >= deadline {
            return Err(NotReady {
                seconds: arguments.timeout_seconds,
                reason,
            });
        }
        sleep(Duration::from_millis(arguments.period_millis)).await;
    }
}

/// One question, by method and target; `None` if the answer is 200, else what it says.
pub(crate) async fn ask(address: SocketAddr, question: &str) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("{question} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(None);
    }
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    Ok(Some(body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const FAST: Args = Args {
        timeout_seconds: 0,
        period_millis: 1,
        request_timeout_millis: 5000,
    };

    async fn answer(listener: &TcpListener, text: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 512];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn waits_for_200_and_else_tells_the_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let patient = Args {
            timeout_seconds: 20,
            ..FAST
        };
        let (waited, ()) = tokio::join!(wait_for(address, &patient), async {
            answer(
                &listener,
                "HTTP/1.1 503 Service Unavailable\r\n\r\nno certificate\n",
            )
            .await;
            answer(&listener, "HTTP/1.1 200 OK\r\n\r\nready\n").await;
        });
        waited.unwrap();
        let (waited, ()) = tokio::join!(
            wait_for(address, &FAST),
            answer(
                &listener,
                "HTTP/1.1 503 Service Unavailable\r\n\r\nno certificate\n"
            )
        );
        assert_eq!(
            waited.unwrap_err().to_string(),
            "proxy is not ready after 0 s: no certificate"
        );
    }
}
