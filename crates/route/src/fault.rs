//! Fault injection: a pure decision.

use std::time::Duration;

use crate::view::RequestView;

/// A compiled fault.
#[derive(Debug)]
pub struct Fault {}

/// What to do to a request: first wait, then abort, either may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultDecision {
    /// Hold the request so long (response flag DI).
    pub delay: Option<Duration>,
    /// Then answer so (response flag FI).
    pub abort: Option<Abort>,
}

/// How a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status with body `fault filter abort`.
    Http(u16),
    /// HTTP 200 with this `grpc-status`.
    Grpc(u16),
}

impl Fault {
    /// Decides on a request towards `cluster`. `random`: any uniform number.
    pub fn decide(&self, request: &RequestView<'_>, cluster: &str, random: u64) -> FaultDecision {
        let _ = (request, cluster, random);
        todo!()
    }
}
