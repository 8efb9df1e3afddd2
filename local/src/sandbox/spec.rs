//! What a container is made of.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mesh_sys::netns::NetNs;

/// A container to start.
#[derive(Debug)]
pub struct Spec {
    /// The pod's network namespace.
    pub netns: NetNs,
    /// Host name (the pod's name); also `/etc/hostname`.
    pub hostname: String,
    /// Contents of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Contents of `/etc/hosts`.
    pub hosts: String,
    /// Mounts besides the synthetic ones; a later one may stand inside an earlier one.
    pub mounts: Vec<Mount>,
    /// The program and how it runs.
    pub exec: Exec,
    /// What the program may do, against the container runtimes' default set.
    pub capabilities: Capabilities,
}

/// A program and its surroundings.
#[derive(Debug)]
pub struct Exec {
    /// Program (absolute, or looked up in `PATH` of `env` inside the container) and arguments; at least one.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute; made when missing (by [`spawn`](super::spawn) only).
    pub cwd: PathBuf,
    /// User to run as. As the proxy's (1337) where that id does not exist, it keeps `CAP_NET_ADMIN`, so that it
    /// can mark its sockets instead.
    pub user: User,
    /// Standard streams.
    pub streams: Streams,
    /// Make standard input the controlling terminal (for `exec -it`).
    pub terminal: bool,
}

/// User and groups; ids that do not exist in our user namespace are left as they are (an ordinary user's
/// platform has one id only).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// `runAsUser`.
    pub uid: Option<u32>,
    /// `runAsGroup`.
    pub gid: Option<u32>,
    /// `supplementalGroups` and `fsGroup`.
    pub groups: Vec<u32>,
}

/// Capabilities by name without `CAP_` (`NET_ADMIN`), as in a Kubernetes securityContext; `ALL` stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// Kept beyond the container runtimes' default set.
    pub add: Vec<String>,
    /// Removed from it.
    pub drop: Vec<String>,
}

/// Standard streams; `None` is `/dev/null`.
#[derive(Debug, Default)]
pub struct Streams {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
}

/// Something at a path of the container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// What is there.
    pub source: Source,
    /// Whether writes fail with `EROFS`.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Source {
    /// A file or directory of the host, live: changes on either side are seen on the other (hostPath;
    /// emptyDir shared by a pod's containers; projected volumes that are updated).
    Host(PathBuf),
    /// Files with these contents in a directory of this container's own, owned by its user. Paths are relative.
    Files {
        /// Relative path to contents.
        files: BTreeMap<PathBuf, Vec<u8>>,
        /// Permission bits of each file.
        mode: u32,
    },
    /// An empty directory of this container's own.
    Empty,
}
