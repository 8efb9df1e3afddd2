//! The API server of a Kubernetes cluster, for all of the mesh's parts that talk to one.
//!
//! - [`connect()`]: a client by kubeconfig or from inside a pod.
//! - [`explain`]: what an answer of the API server means and what to do about it.
//! - [`lease`]: which of several replicas does what only one may do.

mod connect;
mod explain;
pub mod lease;

pub use connect::{ConnectError, Target, connect};
pub use explain::explain;
pub use kube;
