//! The local platform: Kubernetes manifests run as processes in network namespaces.
//!
//! Two processes. The outer one ([`daemon::Daemon`], see [`up`]) stays in the host's namespaces and
//! hands in sockets; the inner one has everything else:
//!
//! ```text
//! manifests on disk ──load──▶ reconcile ──▶ pod (one task each) ──▶ sandbox (processes)
//!                               │  ▲            │                     net (namespaces, DNAT)
//!     objects/ for meshd  ◀─────┤  └─ status ───┘
//!     dns, published ports ◀────┘
//! ```
//!
//! [`client`] speaks to a running platform over its socket.

pub mod api;
mod built_in;
pub mod client;
pub mod daemon;
mod dns;
pub mod images;
mod load;
pub mod net;
mod node;
mod objects;
mod pod;
mod publish;
mod reconcile;
pub mod sandbox;
pub mod state;
pub mod up;

pub use daemon::reexec;

/// Where state is kept unless something else is asked for: `$XDG_STATE_HOME/mesh`, else
/// `~/.local/state/mesh`; `None` without a home directory.
#[must_use]
pub fn default_state_dir() -> Option<std::path::PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = set("XDG_STATE_HOME")
        .map(std::path::PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let home = || Some(std::path::PathBuf::from(set("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("mesh"))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
