//! A message's body as it comes from a peer, whatever the peer speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::{BodyError, RequestBody};
use crate::http1::{client, server};
use crate::http2;
use crate::tls::{ClientStream, ServerIo};

/// A body on its way in.
#[derive(Debug)]
pub enum Incoming {
    /// Of a client's HTTP/1.1 request.
    Request(server::Body<ServerIo>),
    /// Of an upstream's HTTP/1.1 response.
    Response(client::Body<ClientStream, RequestBody>),
    /// Of a client's HTTP/2 request.
    Http2Request(http2::body::Body),
    /// Of an upstream's HTTP/2 response.
    Http2Response(http2::client::Body<RequestBody>),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Request(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Response(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2Request(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2Response(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Request(body) => body.is_end_stream(),
            Self::Response(body) => body.is_end_stream(),
            Self::Http2Request(body) => body.is_end_stream(),
            Self::Http2Response(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Request(body) => body.size_hint(),
            Self::Response(body) => body.size_hint(),
            Self::Http2Request(body) => body.size_hint(),
            Self::Http2Response(body) => body.size_hint(),
        }
    }
}
