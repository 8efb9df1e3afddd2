//! A connection's state, without IO: what comes in is told to streams, what streams say is
//! encoded into `out` at once.

mod control;
mod ending;
mod receive;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use bytes::BufMut as _;
use hashbrown::HashMap;
use http::uri::Authority;
use http::{HeaderMap, Request, StatusCode};

use super::budget::Budget;
use super::frame::{self, PAYLOAD_DEFAULT, WINDOW_DEFAULT, flag, kind, setting};
use super::hpack::{Decoder, Encoder};
use super::stream::{State, Stream};
use super::{Error, Reason, Settings, head};

/// A connection as its driver and its streams hold it.
pub type Link = Rc<RefCell<Core>>;

/// With so much waiting to be written no stream adds data.
const WRITE_HIGH_BYTES: usize = 64 * 1024;
/// With so much of heads and answers on top of that the peer isn't reading at all.
const WRITE_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Streams that a peer may reset before their end without any that it lets finish.
const RESETS: u32 = 500;
/// Frames that carry nothing which a peer may send without any that carries something.
const EMPTY_FRAMES: u32 = 1000;
/// Streams at a time until the peer has said how many. RFC 9113 recommends no less.
const STREAMS_DEFAULT: u32 = 100;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It opens streams.
    Client,
    /// It answers.
    Server,
}

/// What the peer allows.
#[derive(Debug)]
struct Peer {
    stream_window: i64,
    frame_bytes: usize,
    concurrent_streams: u32,
    /// RFC 8441.
    connect_protocol: bool,
}

/// How far a farewell has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    None,
    /// The peer knows that we want to end; what is on its way is still served.
    Announced,
    /// Later streams are not served.
    Said,
}

/// What our PING at the announcement of a farewell carries.
const FAREWELL_PING: u64 = 0x676f_6f64_2062_7965;

/// A connection.
#[derive(Debug)]
pub struct Core {
    role: Role,
    local: Settings,
    peer: Peer,
    pub(super) out: Vec<u8>,
    /// Bytes that the driver has taken from `out` and could not write yet.
    pub(super) unwritten: usize,
    pub(super) encoder: Encoder,
    decoder: Decoder,
    streams: HashMap<u32, Rc<Stream>>,
    pub(super) accepted: VecDeque<(Request<()>, Rc<Stream>)>,
    /// Who waits for the connection's window, or for room in `out`.
    pub(super) waiting: Vec<Rc<Stream>>,
    /// Wakes the driver, unless it is running.
    pub(super) driver: Option<Waker>,
    send_window: i64,
    recv_window: i64,
    unreleased: u32,
    /// The highest number of a stream so far.
    last: u32,
    /// A block of fields of which more frames must come.
    partial: Option<receive::Partial>,
    preface: bool,
    farewell: Farewell,
    /// No stream can be opened any more.
    closing: bool,
    /// How the connection has ended.
    pub(super) ended: Option<Result<(), Error>>,
    resets: Budget,
    empties: Budget,
    authority: Option<Authority>,
    /// Frames that came so far.
    pub(super) heard: u64,
}

impl Core {
    /// A connection at its start: what each side says first is in `out`.
    pub(super) fn new(role: Role, local: Settings) -> Self {
        let mut out = Vec::with_capacity(128);
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, local.stream_window),
            (setting::MAX_FRAME_SIZE, local.frame_bytes),
            (setting::MAX_HEADER_LIST_SIZE, local.header_list_bytes),
        ];
        match role {
            Role::Client => {
                out.put_slice(frame::PREFACE);
                settings.push((setting::ENABLE_PUSH, 0));
            }
            Role::Server => {
                settings.push((setting::MAX_CONCURRENT_STREAMS, local.concurrent_streams));
                settings.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
            }
        }
        frame::settings(&mut out, &settings);
        let window = i64::from(local.connection_window).max(WINDOW_DEFAULT);
        if let Ok(more @ 1..) = u32::try_from(window - WINDOW_DEFAULT) {
            frame::window_update(&mut out, 0, more);
        }
        let now = Instant::now();
        Self {
            role,
            local,
            peer: Peer {
                stream_window: WINDOW_DEFAULT,
                frame_bytes: PAYLOAD_DEFAULT,
                concurrent_streams: STREAMS_DEFAULT,
                connect_protocol: false,
            },
            out,
            unwritten: 0,
            encoder: Encoder::default(),
            decoder: Decoder::new(local.header_list_bytes as usize),
            streams: HashMap::new(),
            accepted: VecDeque::new(),
            waiting: Vec::new(),
            driver: None,
            send_window: WINDOW_DEFAULT,
            recv_window: window,
            unreleased: 0,
            last: 0,
            partial: None,
            preface: role == Role::Client,
            farewell: Farewell::None,
            closing: false,
            ended: None,
            resets: Budget::new(RESETS, now),
            empties: Budget::new(EMPTY_FRAMES, now),
            authority: None,
            heard: 0,
        }
    }

    pub(super) fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// No stream is open.
    pub(super) fn is_quiet(&self) -> bool {
        self.streams.is_empty()
    }

    /// A client can't open streams any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing || self.ended.is_some()
    }

    /// Streams that the peer takes at a time.
    pub(super) fn concurrent_streams(&self) -> u32 {
        self.peer.concurrent_streams
    }

    /// The peer takes extended CONNECT.
    pub(super) fn takes_connect_protocol(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Lets the driver write what is in `out`.
    pub(super) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// Opens a stream of ours. `None`: the connection takes no more.
    pub(super) fn open(&mut self, bodiless: bool) -> Option<Rc<Stream>> {
        let id = match self.last {
            0 => 1,
            last => last + 2,
        };
        let full = self.streams.len() >= self.peer.concurrent_streams as usize
            || self.out.len() + self.unwritten > WRITE_LIMIT_BYTES;
        if self.is_closing() || full || id > 0x7fff_ffff {
            return None;
        }
        Some(self.insert(id, bodiless, None))
    }

    fn insert(&mut self, id: u32, bodiless: bool, promised: Option<u64>) -> Rc<Stream> {
        self.last = id;
        let stream = Stream::new(
            id,
            State {
                send_window: self.peer.stream_window,
                recv_window: i64::from(self.local.stream_window),
                bodiless,
                promised,
                ..State::default()
            },
        );
        self.streams.insert(id, Rc::clone(&stream));
        stream
    }

    /// Sends a block of fields that `write` appends to `out`.
    pub(super) fn send_block(
        &mut self,
        stream: &Rc<Stream>,
        end: bool,
        write: impl FnOnce(&mut Self),
    ) {
        let start = self.out.len();
        self.out.put_bytes(0, frame::HEADER_BYTES);
        write(self);
        let end_stream = if end { flag::END_STREAM } else { 0 };
        let flags = flag::END_HEADERS | end_stream;
        if self.out.len() - start - frame::HEADER_BYTES <= self.peer.frame_bytes {
            frame::finish(&mut self.out, start, kind::HEADERS, flags, stream.id);
        } else {
            self.split_block(start, end_stream, stream.id);
        }
        self.sent(stream, end);
    }

    /// Cuts a block that is too long for one frame.
    #[cold]
    fn split_block(&mut self, start: usize, mut flags: u8, stream: u32) {
        let block = self.out.split_off(start).split_off(frame::HEADER_BYTES);
        let mut kind = kind::HEADERS;
        let mut pieces = block.chunks(self.peer.frame_bytes).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= flag::END_HEADERS;
            }
            let header = frame::Header {
                length: piece.len(),
                kind,
                flags,
                stream,
            };
            header.write(&mut self.out);
            self.out.put_slice(piece);
            (kind, flags) = (kind::CONTINUATION, 0);
        }
    }

    /// Tells a client that it may send its body.
    pub(super) fn proceed(&mut self, stream: &Rc<Stream>) {
        self.send_block(stream, false, |core| {
            let none = HeaderMap::new();
            head::write_response(
                &mut core.encoder,
                &mut core.out,
                StatusCode::CONTINUE,
                &none,
            );
        });
    }

    /// Bytes of data that a stream may send now, in one frame.
    pub(super) fn room(&self, state: &State) -> usize {
        let window = self.send_window.min(state.send_window).max(0);
        let buffer = WRITE_HIGH_BYTES.saturating_sub(self.out.len() + self.unwritten);
        buffer
            .min(self.peer.frame_bytes)
            .min(usize::try_from(window).unwrap_or(usize::MAX))
    }

    /// Sends data that [`Core::room`] has allowed.
    pub(super) fn send_data(&mut self, stream: &Rc<Stream>, data: &[u8], end: bool) {
        self.send_window -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        let header = frame::Header {
            length: data.len(),
            kind: kind::DATA,
            flags: if end { flag::END_STREAM } else { 0 },
            stream: stream.id,
        };
        header.write(&mut self.out);
        self.out.put_slice(data);
        self.sent(stream, end);
    }

    fn sent(&mut self, stream: &Rc<Stream>, end: bool) {
        if end {
            stream.state.borrow_mut().sent = true;
            self.settle(stream);
        }
        self.wake_driver();
    }

    /// Forgets a stream that both sides have ended.
    fn settle(&mut self, stream: &Rc<Stream>) {
        let state = stream.state.borrow();
        if state.sent && state.received && self.streams.remove(&stream.id).is_some() {
            self.resets.earn();
            self.empties.earn();
            self.end_if_done();
        }
    }

    /// Resets a stream that is open.
    pub(super) fn reset(&mut self, stream: &Rc<Stream>, reason: Reason, error: Error) {
        if self.streams.remove(&stream.id).is_some() {
            frame::reset(&mut self.out, stream.id, reason);
            let waiting = {
                let mut state = stream.state.borrow_mut();
                state.fail(error);
                std::mem::take(&mut state.data)
            };
            self.discard(waiting.iter().map(bytes::Bytes::len).sum());
            self.end_if_done();
            self.wake_driver();
        }
    }

    /// Data of a stream has been read: its peer may send as much again.
    pub(super) fn give_back(&mut self, stream: u32, state: &mut State, bytes: u32) {
        self.discard(bytes as usize);
        if state.received || state.broken.is_some() {
            return;
        }
        state.unreleased += bytes;
        if state.unreleased >= self.local.stream_window / 2 {
            let bytes = std::mem::take(&mut state.unreleased);
            state.recv_window += i64::from(bytes);
            frame::window_update(&mut self.out, stream, bytes);
            self.wake_driver();
        }
    }

    /// Data is read, or nobody will: the connection's window opens again.
    pub(super) fn discard(&mut self, bytes: usize) {
        self.unreleased += u32::try_from(bytes).unwrap_or(u32::MAX);
        let window = i64::from(self.local.connection_window).max(WINDOW_DEFAULT);
        if i64::from(self.unreleased) >= window / 2 {
            let bytes = std::mem::take(&mut self.unreleased);
            self.recv_window += i64::from(bytes);
            frame::window_update(&mut self.out, 0, bytes);
            self.wake_driver();
        }
    }

    /// There is room again: all who wait for it look.
    pub(super) fn wake_waiting(&mut self) {
        if self.send_window <= 0 {
            return;
        }
        for stream in std::mem::take(&mut self.waiting) {
            let mut state = stream.state.borrow_mut();
            state.queued = false;
            state.wake_writer();
        }
    }

    /// Asks whether the peer is still there.
    pub(super) fn ping(&mut self) {
        frame::ping(&mut self.out, false, 0);
    }
}
