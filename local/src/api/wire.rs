//! What travels over the daemon's socket: requests, replies and their framing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame: a manifest of 4 MiB (Kubernetes' own limit is 3 MiB) in JSON quotes, doubled.
pub const MAX_FRAME_BYTES: u32 = 8 << 20;

/// One question to the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Objects of one kind.
    Get(Get),
    /// A container's log.
    Logs(Logs),
    /// A command inside a running container; the client's standard descriptors come with it.
    Exec(Exec),
    /// Manifests to keep in the platform's own directory.
    Apply(Manifests),
    /// Objects to remove from it, named by their manifests.
    Delete(Manifests),
    /// The end of one pod.
    DeletePod(DeletePod),
    /// A rolling restart of a Deployment.
    Restart(Workload),
    /// Another number of replicas for a Deployment.
    Scale(Scale),
    /// Other labels for an object.
    Label(Label),
    /// What is doubtful among the mesh's objects.
    Findings,
    /// An HTTP request to 127.0.0.1 inside a pod.
    PodHttp(PodHttp),
    /// What runs, and whether all of it is ready.
    Status,
    /// The orderly end of the platform; the last reply comes when everything is gone.
    Down,
}

/// Which objects to return.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Get {
    /// Singular, plural, short name or Kubernetes kind, in any case: `pods`, `svc`, `VirtualService`.
    pub kind: String,
    /// Only this object.
    #[serde(default)]
    pub name: Option<String>,
    /// Only this namespace; `None` is every namespace.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Which log to return, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logs {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or `deployment/NAME` for the first pod of one.
    pub pod: String,
    /// `None`: the pod's first container.
    #[serde(default)]
    pub container: Option<String>,
    /// Go on with what is written later, until the client closes.
    #[serde(default)]
    pub follow: bool,
    /// Only the last so many lines.
    #[serde(default)]
    pub tail: Option<u64>,
    /// The log of the container's run before the present one.
    #[serde(default)]
    pub previous: bool,
}

/// What to run in which container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or `deployment/NAME` for the first pod of one.
    pub pod: String,
    /// `None`: the pod's first container.
    #[serde(default)]
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// YAML documents and where they came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifests {
    /// Name of the file or `-`, for error messages.
    pub source: String,
    /// One or more YAML documents.
    pub text: String,
    /// The namespace of objects that name none; `default` if absent.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Which pod to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletePod {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or `deployment/NAME` for the first pod of one.
    pub pod: String,
    /// How long it may take; 0 kills it at once, `None` leaves it its own grace period.
    #[serde(default)]
    pub grace_seconds: Option<u64>,
}

/// One Deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// The Deployment's name.
    pub name: String,
}

/// One Deployment and its new size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scale {
    /// The namespace.
    pub namespace: String,
    /// The Deployment's name.
    pub name: String,
    /// Pods wanted.
    pub replicas: u32,
}

/// One object and its new labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Label {
    /// Any name of its kind.
    pub kind: String,
    /// The namespace, for a kind that has them.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// New values by key; `None` removes the label.
    pub changes: BTreeMap<String, Option<String>>,
    /// Whether a label that has another value may be changed.
    pub overwrite: bool,
}

/// An HTTP request to 127.0.0.1 inside a pod's network namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodHttp {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or `deployment/NAME` for the first pod of one.
    pub pod: String,
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Path and query, with the leading slash.
    pub path: String,
    /// `GET`, `POST`, ...
    pub method: String,
}

/// One answer of the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Objects as Kubernetes would show them.
    Objects {
        /// Full objects, status included.
        items: Vec<Value>,
    },
    /// A piece of a log.
    Log {
        /// Text; bytes that are not UTF-8 are replaced.
        text: String,
    },
    /// The command has ended.
    Exited {
        /// Exit code, or 128 + signal.
        code: i32,
    },
    /// The outcome for each manifest, in order.
    Outcomes {
        /// One line each.
        items: Vec<Outcome>,
    },
    /// The answer from inside the pod.
    Http {
        /// HTTP status code.
        status: u16,
        /// Body; bytes that are not UTF-8 are replaced.
        body: String,
    },
    /// What runs.
    Status(Status),
    /// What is doubtful.
    Findings {
        /// One each.
        items: Vec<Finding>,
    },
    /// The pod that is being ended.
    Deleted {
        /// Its name.
        name: String,
    },
    /// Done.
    Ok,
    /// It could not be done.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// A reference that leads nowhere, or a conflict between objects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// `virtualservice/reviews`, as in [`Outcome`].
    pub object: String,
    /// Its namespace.
    pub namespace: String,
    /// Field, what is wrong with it, and what to do.
    pub message: String,
}

/// What happened to one manifest of an `apply` or `delete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// `deployment/reviews-v1`, or the source's name when the document has no object.
    pub object: String,
    /// Its namespace; empty for a kind without namespaces.
    #[serde(default)]
    pub namespace: String,
    /// `created`, `configured`, `unchanged`, `deleted`, `not found` or `refused`.
    pub action: String,
    /// Reason of a refusal, or a warning.
    #[serde(default)]
    pub message: Option<String>,
}

/// What runs on the platform, and whether it is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Every Deployment and bare pod.
    pub workloads: Vec<WorkloadStatus>,
    /// Service ports that are reachable from this machine.
    pub published: Vec<Published>,
    /// Manifests refused and other things the user should see, newest last.
    pub problems: Vec<String>,
    /// What is harmless but good to know: fields of manifests that have no effect here.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The process that started the platform; 0 if it cannot be read.
    pub pid: u32,
}

impl Status {
    /// Whether every workload has all its pods ready.
    #[must_use]
    pub fn all_ready(&self) -> bool {
        !self.workloads.is_empty() && self.workloads.iter().all(WorkloadStatus::is_ready)
    }
}

/// One Deployment or bare pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// The namespace.
    pub namespace: String,
    /// Name of the Deployment or pod.
    pub name: String,
    /// Pods wanted.
    pub desired: u32,
    /// Pods that are ready and of the present template.
    pub ready: u32,
    /// Pods that belong to an earlier template and are not gone yet.
    pub outdated: u32,
    /// `pending`, `running` or `ready`.
    pub phase: String,
    /// Why it isn't ready yet, if something can be said.
    #[serde(default)]
    pub reason: Option<String>,
}

impl WorkloadStatus {
    /// Whether all pods wanted are ready and no old one is left.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready >= self.desired && self.outdated == 0
    }
}

/// One Service port bound on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub port: u16,
    /// Address outside the platform, `127.0.0.1:8080`.
    pub address: String,
}

/// Writes one frame.
///
/// # Errors
/// Those of the stream; `InvalidData` if the value is larger than [`MAX_FRAME_BYTES`].
pub async fn send<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> std::io::Result<()> {
    let frame = encode(value)?;
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// One frame as bytes: length, then JSON.
///
/// # Errors
/// `InvalidData` if the value is larger than [`MAX_FRAME_BYTES`] or has no JSON form.
pub fn encode<T: Serialize>(value: &T) -> std::io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME_BYTES)
        .ok_or_else(|| invalid(format!("a message of {} bytes is too large", body.len())))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Reads one frame; `None` at an orderly end of the stream.
///
/// # Errors
/// Those of the stream; `InvalidData` for a frame that is too large or not the expected JSON.
pub async fn receive<T: serde::de::DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    let first = stream.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[first..]).await?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(invalid(format!("a message of {length} bytes is too large")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(Some(serde_json::from_slice(&body)?))
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, message)
}
