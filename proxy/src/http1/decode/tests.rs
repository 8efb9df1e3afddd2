use proptest::prelude::*;

use super::*;

/// Content, trailers, whether it ended; `step` bytes at a time.
fn decode(
    framing: Framing,
    bytes: &[u8],
    step: usize,
) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let (mut decoder, mut buffer) = (Decoder::new(framing), BytesMut::new());
    let (mut content, mut trailers) = (Vec::new(), 0);
    for part in bytes.chunks(step) {
        buffer.extend_from_slice(part);
        while let Some(piece) = decoder.next(&mut buffer)? {
            match piece {
                Piece::Data(data) => content.extend_from_slice(&data),
                Piece::Trailers(map) => trailers += map.len(),
                Piece::End => break,
            }
        }
    }
    Ok((content, trailers, decoder.is_done()))
}

#[test]
fn a_length_ends_the_body() {
    assert_eq!(
        decode(Framing::Length(3), b"abcd", 2),
        Ok((b"abc".to_vec(), 0, true))
    );
    assert_eq!(
        decode(Framing::Length(5), b"abcd", 2),
        Ok((b"abcd".to_vec(), 0, false))
    );
}

#[test]
fn chunks_and_trailers_are_read_however_they_arrive() {
    let text =
        b"4\r\nWiki\r\nA;x=y\r\n0123456789\r\n0\r\na: 1\r\nb: 2\r\ncontent-length: 9\r\n\r\n";
    for step in 1..=text.len() {
        assert_eq!(
            decode(Framing::Chunked, text, step),
            Ok((b"Wiki0123456789".to_vec(), 2, true)),
            "step {step}"
        );
    }
}

#[test]
fn lenient_chunks_are_refused() {
    for (text, error) in [
        (&b"4\nWiki\r\n0\r\n\r\n"[..], BodyError::Size),
        (b" 4\r\nWiki\r\n", BodyError::Size),
        (b"+4\r\nWiki\r\n", BodyError::Size),
        (b"0x4\r\nWiki\r\n", BodyError::Size),
        (b"-1\r\nWiki\r\n", BodyError::Size),
        (b"4_0\r\nWiki\r\n", BodyError::Size),
        (b"\r\nWiki\r\n", BodyError::Size),
        (b";a\r\nWiki\r\n", BodyError::Size),
        (b"4;a\rb\r\nWiki\r\n", BodyError::Size),
        (b"10000000000000000\r\nWiki\r\n", BodyError::Size),
        (b"4\x0c;a\r\nWiki\r\n", BodyError::Size),
        (b"4\r\nWikiX\r\n", BodyError::End),
        (b"4\r\nWiki\n0\r\n\r\n", BodyError::End),
    ] {
        assert_eq!(decode(Framing::Chunked, text, 64), Err(error), "{text:?}");
    }
    let endless = [b'1'; 2 * SIZE_LINE_BYTES];
    assert_eq!(
        decode(Framing::Chunked, &endless, endless.len()),
        Err(BodyError::Size)
    );
}

/// What follows the lone line feeds is no part of the trailers for some, and another request.
#[test]
fn trailers_end_in_crlf() {
    let error = BodyError::Trailers(HeadError::Syntax("line end"));
    for text in [
        &b"0\r\na: 1\nb: 2\r\n\r\n"[..],
        b"0\r\na: 1\n\nGET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(decode(Framing::Chunked, text, 64), Err(error), "{text:?}");
    }
}

#[test]
fn limits_are_the_same_however_bytes_arrive() {
    for (length, ok) in [(SIZE_LINE_BYTES, true), (SIZE_LINE_BYTES + 1, false)] {
        let extension = "x".repeat(length - 2);
        let text = format!("0;{extension}\r\n\r\n").into_bytes();
        let whole = decode(Framing::Chunked, &text, text.len());
        assert_eq!(
            (whole.is_ok(), decode(Framing::Chunked, &text, 1)),
            (ok, whole)
        );
    }
    for (length, ok) in [(TRAILER_BYTES, true), (TRAILER_BYTES + 1, false)] {
        let value = "x".repeat(length - "a: \r\n\r\n".len());
        let text = format!("0\r\na: {value}\r\n\r\n").into_bytes();
        let whole = decode(Framing::Chunked, &text, text.len());
        assert_eq!(
            (whole.is_ok(), decode(Framing::Chunked, &text, 100)),
            (ok, whole)
        );
    }
}

#[test]
fn a_body_until_close_ends_with_the_stream() {
    let mut decoder = Decoder::new(Framing::UntilClose);
    let mut buffer = BytesMut::from(&b"abc"[..]);
    assert_eq!(
        decoder.next(&mut buffer),
        Ok(Some(Piece::Data(Bytes::from_static(b"abc"))))
    );
    assert!(!decoder.is_done());
    assert!(decoder.end_of_stream());
    assert!(!Decoder::new(Framing::Length(1)).end_of_stream());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        step in 1_usize..64,
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            crate::http1::encode::chunk_start(&mut text, chunk.len());
            text.extend_from_slice(chunk);
            text.extend_from_slice(crate::http1::encode::CHUNK_END);
        }
        crate::http1::encode::last_chunk(&mut text, None);
        prop_assert_eq!(decode(Framing::Chunked, &text, step), Ok((chunks.concat(), 0, true)));
    }

    #[test]
    fn any_bytes_in_any_pieces_mean_the_same(
        bytes in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), any::<u8>()], 0..80),
        step in 1_usize..20,
    ) {
        prop_assert_eq!(
            decode(Framing::Chunked, &bytes, step),
            decode(Framing::Chunked, &bytes, bytes.len().max(1))
        );
    }
}
