//! HTTP/2 with prior knowledge, and gRPC on it.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::Spec;
use crate::place::{HOST, Protocol};
use crate::server::message;

const WINDOW: u32 = 4 << 20;
/// Content of a gRPC request: with the rest of the request it makes about 100 bytes.
const GRPC_REQUEST: [u8; 64] = [b'q'; 64];

/// A share of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
}

impl Client {
    /// Opens HTTP/2 on a connection.
    pub(super) async fn handshake(stream: TcpStream) -> io::Result<Self> {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        // Its end is the requests' end, too.
        spawn_local(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    /// A request and its answer.
    pub(super) async fn exchange(&mut self, spec: &Spec) -> io::Result<()> {
        self.unary(spec).await.map_err(io::Error::other)?
    }

    async fn unary(&mut self, spec: &Spec) -> Result<io::Result<()>, h2::Error> {
        let grpc = spec.protocol == Protocol::Grpc;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut request) = sender.send_request(head(spec), !grpc)?;
        if grpc {
            request.send_data(message(&GRPC_REQUEST), true)?;
        }
        let (head, mut body) = answer.await?.into_parts();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            length += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?;
        let wanted = if grpc { spec.body + 5 } else { spec.body };
        if head.status != StatusCode::OK || length != wanted {
            let message = format!(
                "status {} with {length} bytes instead of 200 with {wanted}",
                head.status
            );
            return Ok(Err(io::Error::other(message)));
        }
        if grpc && !succeeded(trailers.as_ref()) {
            return Ok(Err(io::Error::other(format!(
                "the call failed: {trailers:?}"
            ))));
        }
        Ok(Ok(()))
    }
}

fn succeeded(trailers: Option<&HeaderMap>) -> bool {
    trailers
        .and_then(|trailers| trailers.get("grpc-status"))
        .is_some_and(|status| status == "0")
}

fn head(spec: &Spec) -> Request<()> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(format!("{HOST}:{}", spec.target.port()))
        .path_and_query(format!("/{}", spec.body))
        .build()
        .expect("host, port and number make a URI");
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(
        header::USER_AGENT,
        http::HeaderValue::from_static("mesh-bench"),
    );
    if spec.protocol == Protocol::Grpc {
        headers.insert(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/grpc"),
        );
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        *request.method_mut() = Method::POST;
    }
    request
}
