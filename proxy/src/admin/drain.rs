//! `meshproxy drain`: tells clients from elsewhere to go. The injector makes it the pre-stop hook of
//! native sidecars, which get SIGTERM only after the application has ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::status::wait::ask;

/// What is asked of the admin interface, as Istio's agent asks Envoy.
const TARGET: &str = "/drain_listeners?inboundonly&graceful&skip_exit";
/// The hook takes its time from the pod's grace period.
const LIMIT: Duration = Duration::from_secs(2);

/// The proxy did not take the order.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// It says no.
    #[error("the proxy at {0} refuses to drain: {1}")]
    Refused(SocketAddr, String),
    /// It says nothing.
    #[error("the proxy at {0} does not answer within {LIMIT:?}")]
    Silent(SocketAddr),
}

/// Asks the proxy whose admin interface is at `admin`. One that has gone has no clients either.
///
/// # Errors
/// [`DrainError`] if it is there, and does not obey.
pub async fn run(admin: SocketAddr) -> Result<(), DrainError> {
    match timeout(LIMIT, ask(admin, &format!("POST {TARGET}"))).await {
        Ok(Ok(None) | Err(_)) => Ok(()),
        Ok(Ok(Some(reason))) => Err(DrainError::Refused(admin, reason)),
        Err(_) => Err(DrainError::Silent(admin)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn asks_the_proxy_unless_it_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let answer = async |text: &str| {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let length = stream.read(&mut head).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        };
        let (drained, head) = tokio::join!(run(admin), answer("HTTP/1.1 200 OK\r\n\r\nOK\n"));
        drained.unwrap();
        assert!(
            head.starts_with(&format!("POST {TARGET} HTTP/1.1\r\n")),
            "{head}"
        );
        let (refused, _) = tokio::join!(run(admin), answer("HTTP/1.1 404 Not Found\r\n\r\nno\n"));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .ends_with("refuses to drain: no")
        );
        drop(listener);
        run(admin).await.unwrap();
    }
}
