//! The API server of a Kubernetes cluster, for all of the mesh's parts that talk to one.
//!
//! - [`connect()`]: a client by kubeconfig or from inside a pod.
//! - [`answered`]: an answer, in time.
//! - [`explain`]: what an answer of the API server means and what to do about it.
//! - [`lease`]: which of several replicas does what only one may do.
//! - `testing` (a feature): a private API server for tests.

mod answered;
mod connect;
mod explain;
pub mod lease;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use answered::{ANSWER_WITHIN, answered};
pub use connect::{ConnectError, Target, connect};
pub use explain::explain;
pub use kube;
