//! Fault injection: a pure decision.

use std::sync::Arc;
use std::time::Duration;

use crate::conditions::{HeaderCondition, derive, drawn};
use crate::view::RequestView;

/// A compiled fault.
#[derive(Debug)]
pub struct Fault {
    /// Pause and share of requests in millionths.
    pub(crate) delay: Option<(Duration, u32)>,
    /// Answer and share of requests in millionths.
    pub(crate) abort: Option<(Abort, u32)>,
    /// Only for requests that meet all of these.
    pub(crate) headers: Vec<HeaderCondition>,
    /// Only for requests to this cluster.
    pub(crate) cluster: Option<Arc<str>>,
}

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
    /// Decides on a request towards `cluster`. `random`: any uniform number; delay and abort are
    /// drawn independently of each other.
    pub fn decide(&self, request: &RequestView<'_>, cluster: &str, random: u64) -> FaultDecision {
        let concerned = self.cluster.as_deref().is_none_or(|only| only == cluster)
            && self
                .headers
                .iter()
                .all(|condition| condition.holds(request));
        if !concerned {
            return FaultDecision::default();
        }
        FaultDecision {
            delay: self
                .delay
                .and_then(|(pause, share)| drawn(derive(random, 1), share).then_some(pause)),
            abort: self
                .abort
                .and_then(|(abort, share)| drawn(derive(random, 2), share).then_some(abort)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_drawn_independently() {
        let fault = Fault {
            delay: Some((Duration::from_secs(7), 500_000)),
            abort: Some((Abort::Http(500), 500_000)),
            headers: Vec::new(),
            cluster: None,
        };
        let headers = http::HeaderMap::new();
        let request = RequestView {
            method: "GET",
            path: "/",
            authority: "a",
            scheme: "http",
            headers: &headers,
        };
        let mut counts = [0_u32; 4];
        for random in 0..4000_u64 {
            let decision = fault.decide(&request, "c", derive(random, 9));
            counts[usize::from(decision.delay.is_some()) * 2
                + usize::from(decision.abort.is_some())] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}
