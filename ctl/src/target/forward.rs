//! Ports of pods, through the API server.

use std::time::Duration;

use anyhow::{Context, anyhow};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Portforwarder};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Pod;
use crate::cluster::because;

/// A page takes milliseconds; a pod whose node is gone would take for ever.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);
/// How long the API server may take to tell why a pod cannot be reached.
const LONGEST_REASON: Duration = Duration::from_millis(500);

/// One connection to a port of a pod. It ends with this value.
pub(crate) struct Forward {
    forwarder: Portforwarder,
    port: u16,
}

impl Forward {
    /// Opens a connection; that nobody listens shows only in [`Forward::reason`].
    pub(crate) async fn open(client: &Client, pod: &Pod, port: u16) -> anyhow::Result<Self> {
        let pods: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
        let forwarder = Box::pin(pods.portforward(&pod.name, &[port])).await;
        let forwarder = forwarder.map_err(|error| because(&error));
        let forwarder = forwarder.with_context(|| {
            format!(
                "forward to port {port} of pod {}/{}",
                pod.namespace, pod.name
            )
        })?;
        Ok(Self { forwarder, port })
    }

    /// The bytes of the connection; once.
    pub(crate) fn stream(
        &mut self,
    ) -> anyhow::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>> {
        let stream = self.forwarder.take_stream(self.port);
        stream.context("the port's stream is taken already")
    }

    /// Why the connection broke, if the API server says it.
    pub(crate) async fn reason(&mut self) -> Option<String> {
        let reason = self.forwarder.take_error(self.port)?;
        tokio::time::timeout(LONGEST_REASON, reason).await.ok()?
    }
}

/// GETs a page from a port of a pod: its status and text.
///
/// # Errors
/// If the API server can't reach the pod, nobody listens there, or no answer comes.
pub(crate) async fn get(
    client: &Client,
    pod: &Pod,
    port: u16,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    let mut forward = Forward::open(client, pod, port).await?;
    let stream = forward.stream()?;
    let asked = tokio::time::timeout(LONGEST_ANSWER, ask(stream, path)).await;
    match asked.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", LONGEST_ANSWER.as_secs())))
    {
        Ok(answer) => Ok(answer),
        Err(error) => match forward.reason().await {
            // The rest tells only of the node's namespaces.
            Some(reason) if reason.contains("connection refused") => {
                Err(anyhow!("nobody listens on port {port} of it"))
            }
            Some(reason) => Err(anyhow!("port {port}: {}", reason.trim())),
            None => Err(error.context(format!("GET {path} on port {port}"))),
        },
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let asked = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        ended = connection => {
            ended?;
            // The last bytes are in the request's hands by now.
            asked.await
        }
    }
}
