//! Requests of one stream.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http_body::Body as _;
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;

use super::PREFIX_BYTES;

/// The messages of a gRPC request body.
///
/// [`tonic::Streaming`] keeps a buffer of the size of the longest message: for most streams that of
/// their first ones, which name everything that they subscribe to. Here no memory is held while nothing
/// is under way.
#[derive(Debug)]
pub struct Requests<R> {
    body: Body,
    /// What came of the next message.
    buffer: BytesMut,
    limit_bytes: usize,
    message: PhantomData<fn() -> R>,
}

impl<R: Message + Default> Requests<R> {
    pub(super) fn new(body: Body, limit_bytes: usize) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            limit_bytes,
            message: PhantomData,
        }
    }

    /// The next message, if all of it came.
    #[allow(clippy::result_large_err)] // It is the end of the stream.
    fn take(&mut self) -> Result<Option<R>, Status> {
        let Some(&[compressed, a, b, c, d]) = self.buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::unimplemented("compressed requests are not read"));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limit_bytes {
            let limit = self.limit_bytes;
            let text = format!("a request of {length} bytes, {limit} are read at most");
            return Err(Status::resource_exhausted(text));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        let message = R::decode(self.buffer.split_to(length).freeze());
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        let message = message.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Some(message))
    }
}

impl<R: Message + Default> Stream for Requests<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(taken) = self.take().transpose() {
                return Poll::Ready(Some(taken));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Clients send no trailers that mean anything.
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None if self.buffer.is_empty() => return Poll::Ready(None),
                None => {
                    self.buffer.clear();
                    let cut = Status::internal("the stream ended within a request");
                    return Poll::Ready(Some(Err(cut)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use tonic::Code;

    use crate::envoy::service::discovery::v3::DiscoveryRequest;

    struct Parts(VecDeque<Bytes>);

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            Poll::Ready(
                self.0
                    .pop_front()
                    .map(|part| Ok(http_body::Frame::data(part))),
            )
        }
    }

    /// What comes of `bytes` in parts of `size`, until the stream ends or fails.
    fn read(bytes: &[u8], size: usize) -> Vec<Result<String, Code>> {
        let parts = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
        let mut requests = Requests::<DiscoveryRequest>::new(Body::new(Parts(parts)), 1000);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut out = Vec::new();
        while let Poll::Ready(Some(one)) = Pin::new(&mut requests).poll_next(&mut cx) {
            let failed = one.is_err();
            out.push(one.map(|one| one.type_url).map_err(|status| status.code()));
            if failed {
                break;
            }
        }
        if out.iter().all(Result::is_ok) {
            assert_eq!(requests.buffer.capacity(), 0);
        }
        out
    }

    fn message(type_url: &str) -> Vec<u8> {
        let message = DiscoveryRequest {
            type_url: type_url.to_owned(),
            ..DiscoveryRequest::default()
        };
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length[..], &message[..]].concat()
    }

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let bytes = [message("a"), message("bb"), message("")].concat();
        for size in 1..=bytes.len() {
            let all = ["a", "bb", ""].map(|text| Ok(text.to_owned()));
            assert_eq!(read(&bytes, size), all, "{size}");
        }
    }

    #[test]
    fn what_is_no_message_ends_the_stream() {
        let cut = &message("a")[..6];
        assert_eq!(read(cut, 100), [Err(Code::Internal)]);
        assert_eq!(read(&[1, 0, 0, 0, 0], 100), [Err(Code::Unimplemented)]);
        assert_eq!(read(&[0, 1, 0, 0, 0], 100), [Err(Code::ResourceExhausted)]);
        assert_eq!(read(&[0, 0, 0, 0, 1, 7], 100), [Err(Code::InvalidArgument)]);
        assert_eq!(read(&[], 100), []);
    }
}
