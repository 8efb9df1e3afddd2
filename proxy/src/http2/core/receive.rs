//! What comes in: frames to events of streams.

use std::rc::Rc;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use super::{Core, Farewell, Role, WRITE_LIMIT_BYTES};
use crate::http2::frame::{self, Header, PREFACE, flag, kind};
use crate::http2::head::{self, Block, Malformed};
use crate::http2::stream::{State, Stream};
use crate::http2::{Error, Reason, Violation};

/// Data shorter than this is copied: it would hold the whole buffer of a read.
const COPY_BYTES: usize = 1024;
/// Frames that a block of fields may take.
const BLOCK_FRAMES: usize = 64;

/// A block of fields that did not fit into one frame.
#[derive(Debug)]
pub(super) struct Partial {
    stream: u32,
    end: bool,
    block: Vec<u8>,
    frames: usize,
}

pub(super) type Outcome = Result<(), Violation>;

pub(super) const fn broken(reason: Reason, what: &'static str) -> Outcome {
    Err(Violation::new(reason, what))
}

impl Core {
    /// Takes the whole frames at the start of `input`.
    ///
    /// # Errors
    /// [`Violation`] that ends the connection.
    pub(in crate::http2) fn receive(&mut self, input: &mut BytesMut) -> Outcome {
        if !self.preface {
            let seen = input.len().min(PREFACE.len());
            if input[..seen] != PREFACE[..seen] {
                return broken(Reason::PROTOCOL_ERROR, "no HTTP/2 preface");
            }
            if seen < PREFACE.len() {
                return Ok(());
            }
            input.advance(seen);
            self.preface = true;
        }
        while let Some(header) = Header::peek(input)
            && self.ended.is_none()
        {
            if header.length > self.local.frame_bytes as usize {
                return broken(Reason::FRAME_SIZE_ERROR, "frame larger than allowed");
            }
            if input.len() < frame::HEADER_BYTES + header.length {
                break;
            }
            input.advance(frame::HEADER_BYTES);
            self.heard += 1;
            if header.kind == kind::DATA {
                self.data(&header, input)?;
            } else {
                self.control(&header, &input[..header.length])?;
                input.advance(header.length);
            }
        }
        if self.out.len() + self.unwritten > WRITE_LIMIT_BYTES {
            return broken(Reason::ENHANCE_YOUR_CALM, "answers are not read");
        }
        Ok(())
    }

    fn control(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        if self.partial.is_some() && header.kind != kind::CONTINUATION {
            return broken(Reason::PROTOCOL_ERROR, "block of fields interrupted");
        }
        match header.kind {
            kind::HEADERS => self.headers(header, payload),
            kind::CONTINUATION => self.continuation(header, payload),
            kind::RST_STREAM => self.reset_by_peer(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PING => self.pinged(header, payload),
            kind::GOAWAY => self.gone_away(header, payload),
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            kind::PUSH_PROMISE => broken(Reason::PROTOCOL_ERROR, "push was not allowed"),
            kind::PRIORITY if header.length != 5 => {
                broken(Reason::FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
            }
            // PRIORITY, and what extensions may bring.
            _ => self.empty(),
        }
    }

    /// A frame that carries nothing.
    pub(super) fn empty(&mut self) -> Outcome {
        if self.empties.spend(Instant::now) {
            Ok(())
        } else {
            broken(Reason::ENHANCE_YOUR_CALM, "too many frames without content")
        }
    }

    /// A frame for a stream that isn't there. It may have been reset while the frame was on its
    /// way; one that never was is a violation.
    pub(super) fn late(&self, stream: u32) -> Outcome {
        // Those that servers open are never allowed.
        if stream.is_multiple_of(2) || stream > self.last {
            let what = "frame on a stream that was never opened";
            return broken(Reason::PROTOCOL_ERROR, what);
        }
        Ok(())
    }

    fn data(&mut self, header: &Header, input: &mut BytesMut) -> Outcome {
        if self.partial.is_some() {
            return broken(Reason::PROTOCOL_ERROR, "block of fields interrupted");
        }
        let content = frame::content(header, &input[..header.length])?;
        self.recv_window -= header.length as i64;
        if self.recv_window < 0 {
            return broken(
                Reason::FLOW_CONTROL_ERROR,
                "more data than the connection's window",
            );
        }
        let Some(stream) = self.streams.get(&header.stream).cloned() else {
            input.advance(header.length);
            self.discard(header.length);
            return self.late(header.stream);
        };
        let data = if content.len() < COPY_BYTES {
            let data = Bytes::copy_from_slice(&input[content.clone()]);
            input.advance(header.length);
            data
        } else {
            input.split_to(header.length).freeze().slice(content)
        };
        let end = header.has(flag::END_STREAM);
        if !data.is_empty() {
            self.empties.earn();
        } else if !end {
            self.empty()?;
        }
        // Padding is read as it comes.
        self.discard(header.length - data.len());
        self.take_data(&stream, data, header.length, end);
        Ok(())
    }

    fn take_data(&mut self, stream: &Rc<Stream>, data: Bytes, length: usize, end: bool) {
        let length = length as i64;
        let bytes = data.len() as u64;
        let verdict = {
            let mut state = stream.state.borrow_mut();
            state.recv_window -= length;
            // What was padding comes back with the next update.
            state.unreleased += (length as u32).saturating_sub(bytes as u32);
            let left = match state.promised {
                Some(promised) if !state.bodiless => promised.checked_sub(bytes),
                other => Some(other.unwrap_or(0)),
            };
            if state.received {
                Err(Reason::STREAM_CLOSED)
            } else if self.role == Role::Client && !state.begun {
                Err(Reason::PROTOCOL_ERROR)
            } else if state.recv_window < 0 {
                Err(Reason::FLOW_CONTROL_ERROR)
            } else if left.is_none() || (end && state.lacks(left)) {
                Err(Reason::PROTOCOL_ERROR)
            } else {
                if state.promised.is_some() {
                    state.promised = left;
                }
                state.received = end;
                Ok(state.unread)
            }
        };
        match verdict {
            Err(reason) => {
                self.discard(data.len());
                let what = Violation::new(reason, "data that was not expected");
                self.reset(stream, reason, Error::Violation(what));
                return;
            }
            Ok(true) => self.discard(data.len()),
            Ok(false) => {
                let mut state = stream.state.borrow_mut();
                if !data.is_empty() {
                    state.data.push_back(data);
                }
                state.wake_reader();
            }
        }
        if end {
            self.settle(stream);
        }
    }

    fn headers(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let block = &payload[frame::content(header, payload)?];
        let end = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.block(header.stream, end, block);
        }
        self.partial = Some(Partial {
            stream: header.stream,
            end,
            block: block.to_vec(),
            frames: 1,
        });
        Ok(())
    }

    fn continuation(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let Some(mut partial) = self
            .partial
            .take_if(|partial| partial.stream == header.stream)
        else {
            return broken(Reason::PROTOCOL_ERROR, "CONTINUATION of nothing");
        };
        partial.block.extend_from_slice(payload);
        partial.frames += 1;
        // Somewhat longer ones can still be refused without ending the connection.
        let limit = self.local.header_list_bytes as usize * 4;
        if partial.frames > BLOCK_FRAMES || partial.block.len() > limit {
            return broken(Reason::ENHANCE_YOUR_CALM, "block of fields too long");
        }
        if header.has(flag::END_HEADERS) {
            return self.block(partial.stream, partial.end, &partial.block);
        }
        self.partial = Some(partial);
        Ok(())
    }

    fn block(&mut self, id: u32, end: bool, bytes: &[u8]) -> Outcome {
        let mut block = Block::default();
        if self.decoder.decode(bytes, &mut block).is_err() {
            return broken(Reason::COMPRESSION_ERROR, "block of fields garbled");
        }
        if let Some(stream) = self.streams.get(&id).cloned() {
            if self.further(&stream, block, end).is_err() {
                self.refuse(&stream, "malformed head or trailers");
            }
            return Ok(());
        }
        if self.role == Role::Client || id.is_multiple_of(2) || id <= self.last {
            self.late(id)?;
            return self.empty();
        }
        self.request(id, block, end)
    }

    fn refuse(&mut self, stream: &Rc<Stream>, what: &'static str) {
        let what = Violation::new(Reason::PROTOCOL_ERROR, what);
        self.reset(stream, what.reason, Error::Violation(what));
    }

    /// A new stream of a client.
    fn request(&mut self, id: u32, block: Block, end: bool) -> Outcome {
        if self.farewell == Farewell::Said {
            self.last = id;
            return Ok(());
        }
        if self.streams.len() >= self.local.concurrent_streams as usize {
            self.last = id;
            frame::reset(&mut self.out, id, Reason::REFUSED_STREAM);
            return self.empty();
        }
        if block.is_too_long() {
            let stream = self.insert(id, false, None);
            stream.state.borrow_mut().received = end;
            self.send_block(&stream, true, |core| {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let none = HeaderMap::new();
                head::write_response(&mut core.encoder, &mut core.out, status, &none);
            });
            if !end {
                self.reset(&stream, Reason::NO_ERROR, Error::Cancelled);
            }
            return self.empty();
        }
        let parsed = block.into_request(&mut self.authority).and_then(|request| {
            let promised = head::content_length(request.headers())?;
            if end && promised.is_some_and(|bytes| bytes > 0) {
                return Err(Malformed);
            }
            Ok((request, promised))
        });
        let stream = match parsed {
            Ok((request, promised)) => {
                let stream = self.insert(id, false, promised);
                let mut state = stream.state.borrow_mut();
                state.received = end;
                state.owes_continue = !end && expects_continue(request.headers());
                drop(state);
                self.accepted.push_back((request, stream));
                return Ok(());
            }
            Err(Malformed) => self.insert(id, false, None),
        };
        self.refuse(&stream, "malformed request");
        self.empty()
    }

    /// A response's head, or trailers.
    fn further(&mut self, stream: &Rc<Stream>, block: Block, end: bool) -> Result<(), Malformed> {
        let mut state = stream.state.borrow_mut();
        if state.received {
            return Err(Malformed);
        }
        if self.role == Role::Client && !state.begun {
            if block.is_too_long() {
                return Err(Malformed);
            }
            let response = block.into_response()?;
            if response.status().is_informational() {
                return if end { Err(Malformed) } else { Ok(()) };
            }
            let silent = matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
            state.bodiless |= silent;
            state.promised = head::content_length(response.headers())?;
            state.begun = true;
            state.head = Some(response);
        } else {
            if !end {
                return Err(Malformed);
            }
            let trailers = block.into_trailers()?;
            state.trailers = (!trailers.is_empty() && !state.unread).then_some(trailers);
        }
        if end && state.lacks(state.promised) {
            return Err(Malformed);
        }
        state.received = end;
        state.wake_reader();
        drop(state);
        if end {
            self.settle(stream);
        }
        Ok(())
    }

    fn reset_by_peer(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        let Some(code) = payload.first_chunk().filter(|_| header.length == 4) else {
            return broken(Reason::FRAME_SIZE_ERROR, "RST_STREAM of a wrong size");
        };
        let Some(stream) = self.streams.remove(&header.stream) else {
            self.late(header.stream)?;
            return self.empty();
        };
        let error = match Reason(u32::from_be_bytes(*code)) {
            Reason::REFUSED_STREAM => Error::Refused,
            reason => Error::Reset(reason),
        };
        stream.state.borrow_mut().fail(error);
        self.end_if_done();
        if self.is_server() && !self.resets.spend(Instant::now) {
            return broken(Reason::ENHANCE_YOUR_CALM, "too many streams reset");
        }
        Ok(())
    }
}

impl State {
    /// The body ends and is shorter than its head has promised.
    fn lacks(&self, left: Option<u64>) -> bool {
        !self.bodiless && left.is_some_and(|bytes| bytes > 0)
    }
}

fn expects_continue(fields: &HeaderMap) -> bool {
    let expect = fields.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
