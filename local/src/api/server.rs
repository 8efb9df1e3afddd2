//! The daemon's side of the socket.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mesh_sys::fdpass::Channel;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::wire::{self, Exec, MAX_FRAME_BYTES, PodHttp, Reply, Request, Status};
use super::{logs, manifests};
use crate::node::Node;
use crate::pod::Context;
use crate::pod::probe;
use crate::reconcile::Command;
use crate::sandbox::Streams;

/// What the socket serves.
#[derive(Clone)]
pub(crate) struct Api {
    /// The controller.
    pub(crate) commands: mpsc::Sender<Command>,
    /// The machine.
    pub(crate) node: Arc<Node>,
    /// What runs.
    pub(crate) status: watch::Receiver<Status>,
    /// Ends the platform.
    pub(crate) shutdown: CancellationToken,
}

/// Accepts clients until dropped. A `down` client's connection stays open until this process ends.
pub(crate) async fn serve(listener: UnixListener, api: Api) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let api = api.clone();
                tokio::spawn(async move {
                    if let Err(error) = Box::pin(api.serve_one(stream)).await {
                        tracing::debug!(%error, "a client's connection broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

impl Api {
    async fn serve_one(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let peer = getsockopt(&stream, PeerCredentials)?;
        if peer.uid() != nix::unistd::geteuid().as_raw() {
            let message = "this platform belongs to another user".to_owned();
            return wire::send(&mut stream, &Reply::Error { message }).await;
        }
        let (request, descriptors) = receive(&mut stream).await?;
        match request {
            Request::Logs(query) => logs::send(self, &mut stream, query).await,
            Request::Exec(exec) => {
                let reply = self.exec(&mut stream, exec, descriptors).await;
                wire::send(&mut stream, &reply).await
            }
            Request::Down => {
                self.shutdown.cancel();
                wire::send(&mut stream, &Reply::Ok).await?;
                // Nothing comes; the kernel closes the connection when this process is gone.
                let _ = stream.read(&mut [0]).await;
                Ok(())
            }
            request => {
                let reply = self.answer(request).await;
                wire::send(&mut stream, &reply).await
            }
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        let result = match request {
            Request::Get(get) => self
                .ask(|answer| Command::Get(get, answer))
                .await
                .and_then(|found| found)
                .map(|items| Reply::Objects { items }),
            Request::Apply(given) => manifests::apply(self, given).await,
            Request::Delete(given) => manifests::delete(self, given).await,
            Request::DeletePod(pod) => self
                .ask(|answer| Command::Delete(pod, answer))
                .await
                .and_then(|deleted| deleted)
                .map(|name| Reply::Deleted { name }),
            Request::Restart(workload) => self
                .ask(|answer| Command::Restart(workload, answer))
                .await
                .and_then(done),
            Request::Scale(scale) => self
                .ask(|answer| Command::Scale(scale, answer))
                .await
                .and_then(done),
            Request::Label(label) => self
                .ask(|answer| Command::Label(label, answer))
                .await
                .and_then(|labelled| labelled)
                .map(|outcome| Reply::Outcomes {
                    items: vec![outcome],
                }),
            Request::Findings => self
                .ask(Command::Findings)
                .await
                .map(|items| Reply::Findings { items }),
            Request::PodHttp(request) => self.pod_http(request).await,
            Request::Status => {
                let mut status = self.status.borrow().clone();
                status.pid = self.node.state.holder().unwrap_or(0);
                Ok(Reply::Status(status))
            }
            Request::Logs(_) | Request::Exec(_) | Request::Down => Ok(Reply::Ok),
        };
        result.unwrap_or_else(|message| Reply::Error { message })
    }

    /// Asks the controller.
    ///
    /// # Errors
    /// If the platform is ending.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, String> {
        let ending = || "the platform is ending".to_owned();
        let (sender, receiver) = oneshot::channel();
        self.commands
            .send(command(sender))
            .await
            .map_err(|_| ending())?;
        receiver.await.map_err(|_| ending())
    }

    pub(super) async fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Context>, String> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.ask(|answer| Command::Pod(namespace, name, answer))
            .await?
    }

    async fn exec(&self, stream: &mut UnixStream, exec: Exec, descriptors: Vec<OwnedFd>) -> Reply {
        match self.run_exec(stream, exec, descriptors).await {
            Ok(code) => Reply::Exited { code },
            Err(message) => Reply::Error { message },
        }
    }

    async fn run_exec(
        &self,
        stream: &mut UnixStream,
        exec: Exec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<i32, String> {
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(descriptors)
            .map_err(|given| format!("exec needs three descriptors, not {}", given.len()))?;
        if exec.command.is_empty() {
            return Err("no command was given".to_owned());
        }
        let pod = self.pod(&exec.namespace, &exec.pod).await?;
        let container = exec.container.unwrap_or_else(|| pod.default_container());
        let streams = Streams {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        let child = pod.exec(&container, exec.command, streams).await?;
        tokio::select! {
            exit = child.wait() => Ok(exit.code()),
            // The client has gone: Ctrl-C, or its terminal was closed.
            _ = stream.read_u8() => {
                // An error means that it has ended by itself.
                drop(child.signal(nix::libc::SIGKILL));
                Ok(child.wait().await.code())
            }
        }
    }

    async fn pod_http(&self, request: PodHttp) -> Result<Reply, String> {
        let pod = self.pod(&request.namespace, &request.pod).await?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], request.port));
        let unreachable = |error: std::io::Error| {
            format!(
                "nothing answers on port {} of pod {}: {error}",
                request.port,
                pod.name()
            )
        };
        let network = pod
            .network()
            .ok_or_else(|| format!("pod {} has no network yet", pod.name()))?;
        let socket = network.netns().outbound(address).map_err(unreachable)?;
        let stream = socket.connect(address).await.map_err(unreachable)?;
        let asked = probe::request(stream, &request.method, &request.path, "localhost");
        let (status, body) = asked
            .await
            .map_err(|problem| format!("port {} of pod {}: {problem}", request.port, pod.name()))?;
        Ok(Reply::Http { status, body })
    }
}

fn done(result: Result<(), String>) -> Result<Reply, String> {
    result.map(|()| Reply::Ok)
}

/// Reads the one request of a connection and the descriptors that came with its first byte.
async fn receive(stream: &mut UnixStream) -> std::io::Result<(Request, Vec<OwnedFd>)> {
    use std::os::fd::AsFd;

    let channel = Channel::new(stream.as_fd().try_clone_to_owned()?)?;
    let first = channel
        .receive()
        .await?
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    drop(channel);
    let mut frame = first.bytes;
    let invalid =
        |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    while frame.len() < 4 {
        frame.push(stream.read_u8().await?);
    }
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    if length > MAX_FRAME_BYTES {
        return Err(invalid("the request is too large"));
    }
    let mut body = frame.split_off(4);
    let (present, whole) = (body.len(), length as usize);
    if present > whole {
        return Err(invalid("more than one request"));
    }
    body.resize(whole, 0);
    stream.read_exact(&mut body[present..]).await?;
    Ok((serde_json::from_slice(&body)?, first.descriptors))
}
