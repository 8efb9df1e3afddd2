//! Clients that mean harm, or know no better.

use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{echo, get, run, server};
use crate::http2::frame::{self, Header, PREFACE, flag, kind};
use crate::http2::hpack::Encoder;
use crate::http2::{Error, Reason, Violation, head};

/// Frames as a client that means harm may send them.
struct Raw {
    far: DuplexStream,
    encoder: Encoder,
    out: Vec<u8>,
}

impl Raw {
    fn new(far: DuplexStream) -> Self {
        let mut out = PREFACE.to_vec();
        frame::settings(&mut out, &[]);
        Self {
            far,
            encoder: Encoder::default(),
            out,
        }
    }

    fn request(&mut self, stream: u32, end: bool) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; frame::HEADER_BYTES]);
        let mut request = get("/");
        *request.version_mut() = Version::HTTP_2;
        head::write_request(&mut self.encoder, &mut self.out, &request);
        let flags = flag::END_HEADERS | u8::from(end);
        frame::finish(&mut self.out, start, kind::HEADERS, flags, stream);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = payload.len();
        let header = Header {
            length,
            kind,
            flags,
            stream,
        };
        header.write(&mut self.out);
        self.out.extend_from_slice(payload);
    }

    /// Sends all, and returns what the server says in its GOAWAY.
    async fn farewell(mut self) -> Reason {
        let _ = self.far.write_all(&self.out).await; // it may be closed on us
        loop {
            let (header, payload) = self.next().await;
            if header.kind == kind::GOAWAY {
                return Reason(u32::from_be_bytes(*payload[4..].first_chunk().unwrap()));
            }
        }
    }

    /// What the server sends next.
    async fn next(&mut self) -> (Header, Vec<u8>) {
        let mut header = [0; frame::HEADER_BYTES];
        self.far.read_exact(&mut header).await.unwrap();
        let header = Header::peek(&header).unwrap();
        let mut payload = vec![0; header.length];
        self.far.read_exact(&mut payload).await.unwrap();
        (header, payload)
    }
}

/// What a client is told that sends what `write` writes.
fn told(write: impl FnOnce(&mut Raw)) -> (Reason, Result<(), Error>) {
    let mut told = None;
    run(async {
        let (server, far) = server();
        let serving = tokio::task::spawn_local(echo(server));
        let mut raw = Raw::new(far);
        write(&mut raw);
        let reason = raw.farewell().await;
        told = Some((reason, serving.await.unwrap()));
    });
    told.unwrap()
}

#[test]
fn floods_end_the_connection() {
    let resets = told(|raw| {
        for stream in 0..2_000 {
            raw.request(stream * 2 + 1, false);
            raw.frame(kind::RST_STREAM, 0, stream * 2 + 1, &8_u32.to_be_bytes());
        }
    });
    let continuations = told(|raw| {
        raw.frame(kind::HEADERS, 0, 1, &[0x82]);
        for _ in 0..10_000 {
            raw.frame(kind::CONTINUATION, 0, 1, &[]);
        }
    });
    let pings = told(|raw| (0..10_000).for_each(|_| raw.frame(kind::PING, 0, 0, &[0; 8])));
    let settings = told(|raw| (0..10_000).for_each(|_| raw.frame(kind::SETTINGS, 0, 0, &[])));
    let empty = told(|raw| {
        raw.request(1, false);
        (0..10_000).for_each(|_| raw.frame(kind::DATA, 0, 1, &[]));
    });
    let refused = told(|raw| (0..10_000).for_each(|stream| raw.request(stream * 2 + 1, false)));
    let floods = [resets, continuations, pings, settings, empty, refused];
    for (index, (reason, result)) in floods.into_iter().enumerate() {
        assert_eq!(reason, Reason::ENHANCE_YOUR_CALM, "{index}");
        assert!(result.unwrap_err().is_violation(), "{index}");
    }
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    type Write = fn(&mut Raw);
    let cases: [(Reason, Write); 10] = [
        (Reason::PROTOCOL_ERROR, |raw| {
            raw.out = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()
        }),
        (Reason::PROTOCOL_ERROR, |raw| {
            raw.frame(kind::DATA, 0, 1, b"x")
        }),
        (Reason::PROTOCOL_ERROR, |raw| raw.request(2, true)),
        (Reason::PROTOCOL_ERROR, |raw| {
            raw.frame(kind::PUSH_PROMISE, 0, 1, &[0; 4])
        }),
        (Reason::PROTOCOL_ERROR, |raw| {
            raw.frame(kind::CONTINUATION, 0, 1, &[])
        }),
        (Reason::PROTOCOL_ERROR, |raw| {
            raw.frame(
                kind::HEADERS,
                flag::PADDED | flag::END_HEADERS,
                1,
                &[9, 0x82],
            );
        }),
        (Reason::COMPRESSION_ERROR, |raw| {
            raw.frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x80]);
        }),
        (Reason::FRAME_SIZE_ERROR, |raw| {
            raw.frame(kind::PING, 0, 0, &[0; 7])
        }),
        (Reason::FRAME_SIZE_ERROR, |raw| {
            raw.frame(kind::DATA, 0, 1, &[0; 16_385])
        }),
        (Reason::FLOW_CONTROL_ERROR, |raw| {
            raw.frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        }),
    ];
    for (index, (wanted, write)) in cases.into_iter().enumerate() {
        let (reason, result) = told(write);
        assert_eq!(reason, wanted, "{index}");
        let Err(Error::Violation(Violation { reason, .. })) = result else {
            panic!("{index}: {result:?}");
        };
        assert_eq!(reason, wanted, "{index}");
    }
}

#[test]
fn malformed_requests_break_their_stream_only() {
    run(async {
        let (server, far) = server();
        tokio::task::spawn_local(echo(server));
        let mut raw = Raw::new(far);
        let fields: [&[u8]; 4] = [
            // No path; upper case; connection-specific; a field before a pseudo-header.
            &[0x82, 0x86],
            b"\x82\x86\x84\x00\x01X\x011",
            b"\x82\x86\x84\x00\x0aconnection\x01x",
            b"\x82\x86\x00\x01x\x011\x84",
        ];
        for (index, block) in fields.into_iter().enumerate() {
            let flags = flag::END_HEADERS | flag::END_STREAM;
            raw.frame(kind::HEADERS, flags, index as u32 * 2 + 1, block);
        }
        // A body shorter than its length.
        let short = b"\x83\x86\x84\x0f\x0d\x015";
        raw.frame(kind::HEADERS, flag::END_HEADERS, 9, short);
        raw.frame(kind::DATA, flag::END_STREAM, 9, b"four");
        raw.request(11, true);
        raw.far
            .write_all(&std::mem::take(&mut raw.out))
            .await
            .unwrap();
        let mut reset = Vec::new();
        loop {
            let (header, payload) = raw.next().await;
            match header.kind {
                kind::RST_STREAM => {
                    assert_eq!(payload, Reason::PROTOCOL_ERROR.0.to_be_bytes());
                    reset.push(header.stream);
                }
                kind::HEADERS if header.stream == 11 => break,
                _ => assert_ne!(header.kind, kind::GOAWAY),
            }
        }
        assert_eq!(reset, [1, 3, 5, 7, 9]);
    });
}

#[test]
fn what_was_on_its_way_when_a_stream_was_reset_is_no_flood() {
    run(async {
        let (mut server, far) = server();
        let mut raw = Raw::new(far);
        for stream in (1..40).step_by(2) {
            raw.request(stream, false);
            raw.far
                .write_all(&std::mem::take(&mut raw.out))
                .await
                .unwrap();
            drop(server.accept().await.unwrap()); // reset
            for _ in 0..200 {
                raw.frame(kind::DATA, 0, stream, &[0; 100]);
                raw.frame(kind::WINDOW_UPDATE, 0, stream, &100_u32.to_be_bytes());
            }
        }
        raw.request(41, true);
        raw.far
            .write_all(&std::mem::take(&mut raw.out))
            .await
            .unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().path(), "/");
    });
}
