//! A request's body as the attempts and mirrors see it.

use std::rc::Rc;

use http_body::Body as _;

use super::body::{Cut, Progress, Replay, RequestBody, Source};
use super::incoming::Incoming;

/// The body of one request.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// None: any attempt can be repeated.
    Empty,
    /// From the client.
    Source(Rc<Source>),
}

impl Payload {
    /// Takes over a client's body; `progress` is told how it goes.
    pub(crate) fn new(incoming: Incoming, replay: Replay) -> (Self, Option<Rc<Progress>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Rc::<Progress>::default();
        let source = Source::new(incoming, replay, Rc::clone(&progress));
        (Self::Source(source), Some(progress))
    }

    /// The body for another attempt.
    pub(crate) fn attempt(&self) -> RequestBody {
        match self {
            Self::Empty => RequestBody::Empty,
            Self::Source(source) => source.attempt(),
        }
    }

    /// The body for a shadow request; ask before the first attempt.
    pub(crate) fn tee(&self) -> RequestBody {
        match self {
            Self::Empty => RequestBody::Empty,
            Self::Source(source) => source.tee(),
        }
    }

    /// How the client broke off its body, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        match self {
            Self::Empty => None,
            Self::Source(source) => source.cut(),
        }
    }

    /// Another attempt would send the same bytes.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Source(source) => source.is_replayable() || source.is_untouched(),
        }
    }

    /// No attempt will follow.
    pub(crate) fn forget(&self) {
        if let Self::Source(source) = self {
            source.forget();
        }
    }
}
