//! How a connection ends.

use super::{Core, FAREWELL_PING, Farewell, Role};
use crate::http2::{Error, Reason, Violation, frame};

impl Core {
    /// Ends the connection in good order. A server still serves what is on its way to it: it says
    /// where it ends once the peer has seen the announcement.
    pub(in crate::http2) fn say_goodbye(&mut self) {
        match self.role {
            Role::Server if self.farewell == Farewell::None => {
                self.farewell = Farewell::Announced;
                frame::go_away(&mut self.out, 0x7fff_ffff, Reason::NO_ERROR, "");
                frame::ping(&mut self.out, false, FAREWELL_PING);
            }
            Role::Server => {}
            Role::Client => self.closing = true,
        }
        self.end_if_done();
        self.wake_driver();
    }

    pub(super) fn end_if_done(&mut self) {
        let done = match self.role {
            Role::Server => self.farewell == Farewell::Said,
            Role::Client => self.closing,
        };
        if done && self.streams.is_empty() && self.ended.is_none() {
            if self.role == Role::Client {
                frame::go_away(&mut self.out, 0, Reason::NO_ERROR, "");
            }
            self.ended = Some(Ok(()));
            self.wake_driver();
        }
    }

    /// The connection is broken.
    pub(in crate::http2) fn fail(&mut self, error: Error) {
        if self.ended.is_some() {
            return;
        }
        if let Error::Violation(Violation { reason, what }) = error {
            let last = if self.is_server() { self.last } else { 0 };
            frame::go_away(&mut self.out, last, reason, what);
        }
        // A peer that leaves while nothing is under way does no harm.
        let clean = error == Error::Closed && self.streams.is_empty();
        self.ended = Some(if clean { Ok(()) } else { Err(error) });
        for (_, stream) in self.streams.drain() {
            stream.state.borrow_mut().fail(error);
        }
        self.accepted.clear();
        self.waiting.clear();
        self.wake_driver();
    }
}
