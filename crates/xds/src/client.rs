//! The client's side of ADS as state machines that outlive streams.
//!
//! A client machine holds the subscriptions and what was applied. Per stream:
//! [`connect`](DeltaClient::connect) gives the requests to open it with; every response goes
//! to [`receive`](DeltaClient::receive), which gives the [`Update`] to apply; when that is
//! done, [`finish`](DeltaClient::finish) gives the ACK or NACK to write.
//!
//! A refused resource leaves the last good one standing, and the others of its response are
//! applied: only the refused names go into the NACK.

mod delta;
mod sotw;
#[cfg(test)]
mod tests;

pub use delta::DeltaClient;
pub use sotw::SotwClient;

use crate::google::rpc::Status;
use crate::resource::NamedResource;

/// What a response asks the client to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The type of the resources.
    pub type_url: String,
    /// New or different resources.
    pub changed: Vec<NamedResource>,
    /// Resources that don't exist (any more). May name some that the client never had: then
    /// it is the answer to a subscription.
    pub removed: Vec<String>,
    /// The configuration's version, for people.
    pub version: String,
    /// Ties the answer to the response.
    nonce: String,
}

/// A resource that can't be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: String,
    /// Why, in words that help the one who wrote the configuration.
    pub reason: String,
}

/// A response that breaks the protocol; the stream should be closed and opened again.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The server sent a type that was never asked for.
    #[error("server sent {type_url}, which was not subscribed to")]
    Unsolicited {
        /// The type sent.
        type_url: String,
    },
    /// A response without a nonce can't be answered.
    #[error("response of {type_url} has no nonce")]
    NoNonce {
        /// The type sent.
        type_url: String,
    },
    /// A resource of another type than its response's.
    #[error("response of {expected} holds a {found}")]
    MixedTypes {
        /// The response's type.
        expected: String,
        /// The resource's type.
        found: String,
    },
    /// A resource has no payload, or one whose name can't be read.
    #[error("resource {index} of a response of {type_url} is unreadable: {reason}")]
    Unreadable {
        /// The response's type.
        type_url: String,
        /// Its position in the response, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

/// gRPC's INVALID_ARGUMENT, which Envoy gives for a refused configuration.
const INVALID_ARGUMENT: i32 = 3;

/// The error detail of a NACK, or `None` if nothing was refused.
fn error_detail(rejected: &[Rejection]) -> Option<Status> {
    if rejected.is_empty() {
        return None;
    }
    let reasons: Vec<String> = rejected
        .iter()
        .map(|one| format!("{}: {}", one.name, one.reason))
        .collect();
    Some(Status {
        code: INVALID_ARGUMENT,
        message: reasons.join("; "),
        details: Vec::new(),
    })
}
