//! What must hold of what proxies tell each other, whatever bytes come: it is taken whole or left
//! to the application, however it is cut, and damage tells nothing.

use std::task::{Context, Poll, Waker};

use mesh_proxy::peer::{Peer, PeerCache};
use mesh_proxy::tcp::exchange::{Agreed, Exchanged, Wanted};
use tokio::io::{AsyncRead, ReadBuf};

use super::pieces::{Delivery, pieces};

/// A stream that may begin with a peer's frame. The first byte decides how the others are cut.
pub(crate) fn stream(input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let (rest, peer) = read(bytes, seed, Agreed::Yes);
    assert!(bytes.ends_with(&rest));
    assert!(peer.is_none() || rest.len() < bytes.len());
    assert_eq!(read(bytes, seed.wrapping_add(1), Agreed::Yes), (rest, peer));
    assert_eq!(read(bytes, seed, Agreed::No), (bytes.to_vec(), None));
}

fn read(bytes: &[u8], seed: u8, agreed: Agreed) -> (Vec<u8>, Option<Peer>) {
    let mut stream = Exchanged::new(Delivery(pieces(bytes, seed)), agreed, Wanted::Peer);
    let mut context = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    loop {
        let mut chunk = [0; 700];
        let mut buffer = ReadBuf::new(&mut chunk);
        let read = std::pin::Pin::new(&mut stream).poll_read(&mut context, &mut buffer);
        assert!(
            matches!(read, Poll::Ready(Ok(()))),
            "the delivery is always ready"
        );
        if buffer.filled().is_empty() {
            return (all, stream.take_peer());
        }
        all.extend_from_slice(buffer.filled());
    }
}

/// The value of `x-envoy-peer-metadata`.
pub(crate) fn header(input: &[u8]) {
    let peer = Peer::from_header(input);
    let Ok(value) = http::HeaderValue::from_bytes(input) else {
        return;
    };
    let cache = PeerCache::default();
    let known = cache.get(&value);
    assert!(known.is_none() || known.as_deref() == peer.as_ref());
    assert_eq!(cache.get(&value), known);
}
