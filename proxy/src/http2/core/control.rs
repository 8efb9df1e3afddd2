//! Frames about the connection: settings, pings, farewells, windows.

use super::receive::{Outcome, broken};
use super::{Core, FAREWELL_PING, Farewell, Role};
use crate::http2::frame::{self, Header, WINDOW_MAX, flag, setting};
use crate::http2::{Error, Reason, Violation};

impl Core {
    pub(super) fn settings(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        if header.stream != 0 {
            return broken(Reason::PROTOCOL_ERROR, "SETTINGS on a stream");
        }
        if header.has(flag::ACK) {
            return if header.length == 0 {
                Ok(())
            } else {
                broken(Reason::FRAME_SIZE_ERROR, "SETTINGS answered with content")
            };
        }
        let (settings, []) = payload.as_chunks::<6>() else {
            return broken(Reason::FRAME_SIZE_ERROR, "SETTINGS of a wrong size");
        };
        for [a, b, value @ ..] in settings {
            self.setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        frame::settings_ack(&mut self.out);
        self.empty()
    }

    fn setting(&mut self, name: u16, value: u32) -> Outcome {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
            setting::ENABLE_PUSH if value > 1 => {
                return broken(Reason::PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1");
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.concurrent_streams = value,
            setting::INITIAL_WINDOW_SIZE => return self.resize_windows(i64::from(value)),
            setting::MAX_FRAME_SIZE => {
                if !(16_384..1 << 24).contains(&value) {
                    return broken(Reason::PROTOCOL_ERROR, "MAX_FRAME_SIZE out of bounds");
                }
                self.peer.frame_bytes = value as usize;
            }
            setting::ENABLE_CONNECT_PROTOCOL => self.peer.connect_protocol = value == 1,
            _ => {}
        }
        Ok(())
    }

    fn resize_windows(&mut self, window: i64) -> Outcome {
        if window > WINDOW_MAX {
            return broken(Reason::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large");
        }
        let more = window - std::mem::replace(&mut self.peer.stream_window, window);
        for stream in self.streams.values() {
            let mut state = stream.state.borrow_mut();
            state.send_window += more;
            if state.send_window > WINDOW_MAX {
                return broken(Reason::FLOW_CONTROL_ERROR, "window too large");
            }
            if state.send_window > 0 {
                state.wake_writer();
            }
        }
        Ok(())
    }

    pub(super) fn pinged(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let Some(content) = payload.first_chunk().filter(|_| header.length == 8) else {
            return broken(Reason::FRAME_SIZE_ERROR, "PING of a wrong size");
        };
        if header.stream != 0 {
            return broken(Reason::PROTOCOL_ERROR, "PING on a stream");
        }
        let content = u64::from_be_bytes(*content);
        if !header.has(flag::ACK) {
            frame::ping(&mut self.out, true, content);
        } else if content == FAREWELL_PING && self.farewell == Farewell::Announced {
            self.farewell = Farewell::Said;
            frame::go_away(&mut self.out, self.last, Reason::NO_ERROR, "");
            self.end_if_done();
        }
        self.empty()
    }

    pub(super) fn gone_away(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let (Some(last), Some(code)) = (
            payload.first_chunk(),
            payload.get(4..).and_then(<[u8]>::first_chunk),
        ) else {
            return broken(Reason::FRAME_SIZE_ERROR, "GOAWAY of a wrong size");
        };
        if header.stream != 0 {
            return broken(Reason::PROTOCOL_ERROR, "GOAWAY on a stream");
        }
        let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
        let reason = Reason(u32::from_be_bytes(*code));
        if self.role == Role::Server {
            // It opens no more streams; those it has go on, unless it says that we are to blame.
            if reason != Reason::NO_ERROR {
                self.fail(Error::GoneAway(reason));
            }
            return Ok(());
        }
        self.closing = true;
        let refused = self.streams.extract_if(|id, _| *id > last);
        for (_, stream) in refused {
            stream.state.borrow_mut().fail(Error::Refused);
        }
        self.end_if_done();
        Ok(())
    }

    pub(super) fn window_update(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let Some(more) = payload.first_chunk().filter(|_| header.length == 4) else {
            return broken(Reason::FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size");
        };
        let more = i64::from(u32::from_be_bytes(*more) & 0x7fff_ffff);
        if header.stream == 0 {
            self.send_window += more;
            if more == 0 || self.send_window > WINDOW_MAX {
                return broken(
                    Reason::FLOW_CONTROL_ERROR,
                    "window too large, or by nothing",
                );
            }
            self.wake_waiting();
            return Ok(());
        }
        let Some(stream) = self.streams.get(&header.stream).cloned() else {
            return self.late(header.stream);
        };
        let too_large = {
            let mut state = stream.state.borrow_mut();
            state.send_window += more;
            state.wake_writer();
            more == 0 || state.send_window > WINDOW_MAX
        };
        if too_large {
            let reason = Reason::FLOW_CONTROL_ERROR;
            let what = Violation::new(reason, "window too large, or by nothing");
            self.reset(&stream, reason, Error::Violation(what));
        }
        Ok(())
    }
}
