//! The daemon's client: everything `meshctl local` and `meshctl proxy-*` ask of a running platform.
//!
//! ```no_run
//! # async fn f() -> Result<(), mesh_local::client::ClientError> {
//! let client = mesh_local::client::Client::new(std::path::Path::new("/tmp/state"));
//! let pods = client.get("pods", Some("default"), None).await?;
//! # Ok(()) }
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::api::wire::{
    self, DeletePod, Exec, Finding, Get, Label, Logs, Manifests, Outcome, PodHttp, Reply, Request,
    Scale, Status, Workload,
};

/// How long the process outside may take to end after the one inside.
const LONGEST_END: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a question to the daemon got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no platform runs on {} (start one with `meshctl local up`)", .state_dir.display())]
    NotRunning {
        /// The state directory asked for.
        state_dir: PathBuf,
        /// What connecting said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the platform closed the connection before it had answered")]
    Closed(#[source] std::io::Error),
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
    /// An answer of another kind than asked for.
    #[error(
        "the platform answered with something else than asked for (is meshctl of another version than the platform?)"
    )]
    Unexpected,
    /// Writing to the caller's own output failed.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
}

/// The answer of a pod to [`Client::pod_http`].
#[derive(Debug, Clone)]
pub struct PodResponse {
    /// HTTP status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

/// A handle on the platform of one state directory. Cheap; connects at each question.
#[derive(Debug, Clone)]
pub struct Client {
    state_dir: PathBuf,
}

impl Client {
    /// A client of the platform whose state is in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
        }
    }

    /// Objects of one kind as Kubernetes would show them (status included).
    ///
    /// `kind`: singular, plural, short name or Kubernetes kind. `namespace`: `None` for all.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for an unknown kind, or a `name` that doesn't exist.
    pub async fn get(
        &self,
        kind: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<Value>, ClientError> {
        let get = Get {
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        };
        match self.ask(&Request::Get(get)).await? {
            Reply::Objects { items } => Ok(items),
            other => Err(unexpected(other)),
        }
    }

    /// Copies a container's log to `output`, for ever if it is to be followed.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such pod, container or log.
    pub async fn logs(
        &self,
        logs: Logs,
        output: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), ClientError> {
        let mut stream = self.connect().await?;
        wire::send(&mut stream, &Request::Logs(logs))
            .await
            .map_err(ClientError::Closed)?;
        loop {
            match wire::receive(&mut stream)
                .await
                .map_err(ClientError::Closed)?
            {
                Some(Reply::Log { text }) => {
                    output
                        .write_all(text.as_bytes())
                        .await
                        .map_err(ClientError::Output)?;
                    output.flush().await.map_err(ClientError::Output)?;
                }
                Some(Reply::Ok) | None => return Ok(()),
                Some(other) => return Err(unexpected(other)),
            }
        }
    }

    /// Runs a command in a container, with the three descriptors as its standard input, output
    /// and error, and returns its exit code (128 + signal if a signal ended it).
    ///
    /// Dropping the future ends the command.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such pod or container, or it isn't running.
    pub async fn exec(&self, exec: Exec, stdio: [BorrowedFd<'_>; 3]) -> Result<i32, ClientError> {
        let mut stream = self.connect().await?;
        let frame = wire::encode(&Request::Exec(exec)).map_err(ClientError::Closed)?;
        send_with_descriptors(&mut stream, &frame, stdio)
            .await
            .map_err(ClientError::Closed)?;
        match receive_one(&mut stream).await? {
            Reply::Exited { code } => Ok(code),
            other => Err(unexpected(other)),
        }
    }

    /// Keeps manifests in the platform's own directory, from where they take effect.
    ///
    /// `source`: name of the file, for messages. One outcome per document, in order.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if nothing could be kept (a full disk).
    pub async fn apply(
        &self,
        source: &str,
        text: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Outcome>, ClientError> {
        self.outcomes(Request::Apply(manifests(source, text, namespace)))
            .await
    }

    /// Removes the objects that `text` names from the platform's own directory.
    ///
    /// # Errors
    /// As [`Client::apply`].
    pub async fn delete(
        &self,
        source: &str,
        text: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Outcome>, ClientError> {
        self.outcomes(Request::Delete(manifests(source, text, namespace)))
            .await
    }

    /// Ends one pod (`deployment/NAME` for the first of one); its name. What made it makes another.
    ///
    /// `grace_seconds`: 0 kills it at once, `None` leaves it its own grace period.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it doesn't exist.
    pub async fn delete_pod(
        &self,
        namespace: &str,
        pod: &str,
        grace_seconds: Option<u64>,
    ) -> Result<String, ClientError> {
        let request = DeletePod {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            grace_seconds,
        };
        match self.ask(&Request::DeletePod(request)).await? {
            Reply::Deleted { name } => Ok(name),
            other => Err(unexpected(other)),
        }
    }

    /// Starts a rolling restart of a Deployment.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it doesn't exist.
    pub async fn rollout_restart(&self, namespace: &str, name: &str) -> Result<(), ClientError> {
        let workload = Workload {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.done(&Request::Restart(workload)).await
    }

    /// Gives a Deployment another number of replicas.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it doesn't exist.
    pub async fn scale(
        &self,
        namespace: &str,
        name: &str,
        replicas: u32,
    ) -> Result<(), ClientError> {
        let scale = Scale {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas,
        };
        self.done(&Request::Scale(scale)).await
    }

    /// Gives an object other labels; `None` removes one.
    ///
    /// `kind`: any name of its kind. The outcome's action is `labeled`, `unlabeled` or
    /// `not labeled` (nothing changed).
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it doesn't exist or a label isn't valid, or has another value
    /// and `overwrite` is false.
    pub async fn label(&self, label: Label) -> Result<Vec<Outcome>, ClientError> {
        self.outcomes(Request::Label(label)).await
    }

    /// References between the mesh's objects that lead nowhere, and conflicts.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nothing runs.
    pub async fn findings(&self) -> Result<Vec<Finding>, ClientError> {
        match self.ask(&Request::Findings).await? {
            Reply::Findings { items } => Ok(items),
            other => Err(unexpected(other)),
        }
    }

    /// What runs, and whether it is ready.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nothing does.
    pub async fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    /// An HTTP request to 127.0.0.1:`port` inside the pod's network namespace: how to reach a
    /// proxy's admin port.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such pod or nothing answers on the port.
    pub async fn pod_http(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        method: &str,
        path: &str,
    ) -> Result<PodResponse, ClientError> {
        let request = PodHttp {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            port,
            path: path.to_owned(),
            method: method.to_owned(),
        };
        match self.ask(&Request::PodHttp(request)).await? {
            Reply::Http { status, body } => Ok(PodResponse { status, body }),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the platform in order; returns when everything is gone.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nothing runs.
    pub async fn down(&self) -> Result<(), ClientError> {
        let mut stream = self.connect().await?;
        wire::send(&mut stream, &Request::Down)
            .await
            .map_err(ClientError::Closed)?;
        loop {
            // The inner process holds the connection open for as long as it lives.
            match wire::receive::<Reply>(&mut stream).await {
                Ok(None) | Err(_) => break,
                Ok(Some(Reply::Error { message })) => return Err(ClientError::Refused(message)),
                Ok(Some(_)) => {}
            }
        }
        self.lock_is_free().await;
        Ok(())
    }

    /// Waits until the process outside has let go of the state directory too, so that the next
    /// platform can start on it and its file system be unmounted.
    async fn lock_is_free(&self) {
        let deadline = tokio::time::Instant::now() + LONGEST_END;
        while tokio::time::Instant::now() < deadline {
            let lock = self.state_dir.join("lock");
            let held = std::fs::File::open(lock).is_ok_and(|file| {
                nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock).is_err()
            });
            if !held {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn outcomes(&self, request: Request) -> Result<Vec<Outcome>, ClientError> {
        match self.ask(&request).await? {
            Reply::Outcomes { items } => Ok(items),
            other => Err(unexpected(other)),
        }
    }

    async fn done(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request).await? {
            Reply::Ok => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let mut stream = self.connect().await?;
        wire::send(&mut stream, request)
            .await
            .map_err(ClientError::Closed)?;
        receive_one(&mut stream).await
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(self.state_dir.join("api.sock"))
            .await
            .map_err(|source| ClientError::NotRunning {
                state_dir: self.state_dir.clone(),
                source,
            })
    }
}

async fn receive_one(stream: &mut UnixStream) -> Result<Reply, ClientError> {
    wire::receive(stream)
        .await
        .map_err(ClientError::Closed)?
        .ok_or_else(|| ClientError::Closed(std::io::ErrorKind::UnexpectedEof.into()))
}

fn unexpected(reply: Reply) -> ClientError {
    match reply {
        Reply::Error { message } => ClientError::Refused(message),
        _ => ClientError::Unexpected,
    }
}

fn manifests(source: &str, text: &str, namespace: Option<&str>) -> Manifests {
    Manifests {
        source: source.to_owned(),
        text: text.to_owned(),
        namespace: namespace.map(str::to_owned),
    }
}

async fn send_with_descriptors(
    stream: &mut UnixStream,
    frame: &[u8],
    descriptors: [BorrowedFd<'_>; 3],
) -> std::io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::os::fd::AsRawFd;

    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let sent = loop {
        stream.writable().await?;
        let result = stream.try_io(tokio::io::Interest::WRITABLE, || {
            let parts = [std::io::IoSlice::new(frame)];
            let rights = [ControlMessage::ScmRights(&raw)];
            let socket = stream.as_fd().as_raw_fd();
            sendmsg::<UnixAddr>(socket, &parts, &rights, MsgFlags::empty(), None)
                .map_err(std::io::Error::from)
        });
        match result {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => break other?,
        }
    };
    stream.write_all(&frame[sent..]).await
}
