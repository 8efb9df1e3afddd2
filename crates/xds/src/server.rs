//! The server's side of ADS as state machines: one session per stream.
//!
//! A session knows what its client subscribed to, which version of each resource the client
//! has, and which response is unanswered. It never holds resources: when something may have
//! to be sent it says which part ([`Scope`]), the caller computes that part and hands it to
//! [`Session::send`], which answers with the response to write, if any. What many sessions
//! remember alike, names and versions, they share ([`Interner`]).
//!
//! Invariants, kept by `TypeState`:
//! - at most one response per type is unanswered; what comes due meanwhile is merged and
//!   handed back with the answer;
//! - a delta response of a type that is asked for by name carries [`PART_BYTES`] of resources at
//!   most, unless a single one is larger; the rest comes due with the answer;
//! - a resource is sent again only when its version differs from the last one sent, be that
//!   one accepted or refused, or when the client asks for it anew;
//! - a stale nonce neither accepts nor refuses anything.
//!
//! Source: xDS protocol, sections "ACK", "resource updates", "incremental xDS".

mod delta;
pub mod grpc;
mod ledger;
mod pool;
mod sotw;
mod state;
#[cfg(test)]
mod tests;

pub use delta::DeltaSession;
use grpc::EncodedResponse;
pub use pool::Interner;
pub use sotw::SotwSession;
pub use state::{Nack, Subscription, SyncState, TypeStatus};

use std::sync::Arc;

use crate::envoy::config::core::v3::Node;
use crate::google::rpc::Status;
use crate::resource::{EncodedResource, NameSet, Scope};

/// How much of what is asked for by name one response carries. Clusters and listeners always go
/// out whole: a client takes the first response for all of them, and would serve with half.
pub const PART_BYTES: usize = 256 << 10;

/// What a request said of the response before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it opens or changes a subscription.
    None,
    /// The client applied the response.
    Ack,
    /// The client refused the response, or part of it, for this reason.
    Nack(String),
    /// It answers a response that is no longer the latest one.
    Stale,
}

/// The outcome of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The type that it was about.
    pub type_url: String,
    /// What it said of the response before it.
    pub verdict: Verdict,
    /// What must now be computed and given to [`Session::send`].
    pub due: Option<Scope>,
}

/// A response to write, and what it tells the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The message for the wire.
    pub response: EncodedResponse,
    /// Names of the resources that are new to the client, different, or asked for again.
    pub changed: Vec<Arc<str>>,
    /// Names of those that don't exist (any more).
    pub removed: Vec<Arc<str>>,
    /// Size of the resources in the response.
    pub bytes: usize,
}

/// One stream's session, in either variant of the protocol.
pub trait Session {
    /// What the client sends.
    type Request: prost::Message + Default;

    /// A session for a new stream. `id` goes into nonces, so that an answer to another
    /// stream's response can't pass for an answer to one of ours. `interner`: of all sessions.
    fn new(id: u64, interner: Interner) -> Self;

    /// The node in a request: present in the first one, usually absent later.
    fn node(request: &Self::Request) -> Option<&Node>;

    /// Takes in a request.
    fn receive(&mut self, request: &Self::Request) -> Received;

    /// Asks to send the part `scope` of a type after a change. Narrowed to what the client
    /// subscribed to; `None` if that is nothing, or if a response is unanswered (then it comes
    /// back as [`Received::due`] with the answer).
    fn begin(&mut self, type_url: &str, scope: Scope) -> Option<Scope>;

    /// The response that brings the client up to date, or `None` if it already is.
    ///
    /// `scope`: as [`Session::begin`] or [`Received::due`] gave it. `resources`: everything
    /// that exists of that part, by name. `version`: the configuration's, for people.
    fn send(
        &mut self,
        type_url: &str,
        scope: &Scope,
        resources: &[EncodedResource],
        version: &str,
    ) -> Option<Outgoing>;

    /// Makes these names go out again although unchanged, as far as subscribed to, and asks
    /// to send them as [`Session::begin`] does.
    ///
    /// A client that replaces a cluster may wait for its endpoints before it uses it, even if
    /// these are as before (xDS protocol, "resource warming").
    fn renew(&mut self, type_url: &str, names: &[Arc<str>]) -> Option<Scope>;

    /// The types that the client asked for so far, in alphabetical order.
    fn types(&self) -> Vec<String>;

    /// What the client subscribed to, if it ever asked for this type.
    fn subscription(&self, type_url: &str) -> Option<&Subscription>;

    /// How far the client has come with a type.
    fn status(&self, type_url: &str) -> TypeStatus;
}

/// The set of these names, without the `*` that stands for everything.
fn name_set(names: &[String], interner: &Interner) -> NameSet {
    let names = names.iter().filter(|name| *name != "*");
    interner.names(names.map(|name| Arc::from(name.as_str())).collect())
}

/// The text of an error detail; a client may leave the message out.
fn error_text(status: &Status) -> String {
    if status.message.is_empty() {
        format!("no reason given (code {})", status.code)
    } else {
        status.message.clone()
    }
}
