//! ADS over gRPC for servers whose resources are encoded already.
//!
//! A usual gRPC server would take every response apart into messages, and write each into a buffer
//! of its connection as soon as it is there. Here a response is a list of references to bytes that all
//! clients share, and `ResponseBody` copies of it as much as the connection takes at a time: a
//! thousand slow clients need little more memory than one.

mod requests;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Frame;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{Service, StdError, http};
use tonic::server::NamedService;
use tonic::{Request, Status};

pub use requests::Requests;

use crate::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// What is copied at a time: an HTTP/2 frame of the size that every client takes.
const FRAME_BYTES: usize = 16 << 10;
/// Field number of the resources, in responses of both variants.
const RESOURCES: u32 = 2;
/// gRPC's prefix of a message: whether it is compressed (never), and its length.
const PREFIX_BYTES: usize = 5;

/// A `DeltaDiscoveryResponse` or `DiscoveryResponse` whose resources are encoded already.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedResponse {
    head: Vec<u8>,
    resources: Vec<Bytes>,
}

impl EncodedResponse {
    /// `head`: the response without resources. `resources`: each as its variant carries it
    /// ([`EncodedResource::delta`](crate::EncodedResource::delta) or
    /// [`EncodedResource::packed`](crate::EncodedResource::packed)).
    pub(super) fn new(head: &impl Message, resources: Vec<Bytes>) -> Self {
        Self {
            head: head.encode_to_vec(),
            resources,
        }
    }

    /// The whole message.
    pub fn to_bytes(&self) -> Bytes {
        let mut whole = Writer::new(self.clone());
        let mut out = BytesMut::new();
        while let Some(part) = whole.next() {
            out.extend_from_slice(&part);
        }
        out.freeze().slice(PREFIX_BYTES..)
    }

    /// Size of the resources.
    pub(super) fn resource_bytes(&self) -> usize {
        self.resources.iter().map(Bytes::len).sum()
    }
}

/// What a server answers with: responses, or an error that ends the stream.
pub type Responses = Pin<Box<dyn Stream<Item = Result<EncodedResponse, Status>> + Send>>;

/// What a server of ADS does with its streams.
pub trait AggregatedDiscovery: Send + Sync + 'static {
    /// Opens a stream of the state of the world.
    ///
    /// # Errors
    /// The status with which the client is turned away.
    #[allow(clippy::result_large_err)] // It is made once per stream.
    fn sotw(&self, request: Request<Requests<DiscoveryRequest>>) -> Result<Responses, Status>;

    /// Opens an incremental stream.
    ///
    /// # Errors
    /// As [`AggregatedDiscovery::sotw`].
    #[allow(clippy::result_large_err)]
    fn delta(&self, request: Request<Requests<DeltaDiscoveryRequest>>)
    -> Result<Responses, Status>;
}

/// The gRPC service `envoy.service.discovery.v3.AggregatedDiscoveryService`.
#[derive(Debug)]
pub struct AdsServer<T> {
    inner: Arc<T>,
    request_limit_bytes: usize,
}

impl<T> Clone for AdsServer<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            request_limit_bytes: self.request_limit_bytes,
        }
    }
}

impl<T> NamedService for AdsServer<T> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<T: AggregatedDiscovery> AdsServer<T> {
    /// Serves `inner`; longer requests end their stream.
    pub fn new(inner: T, request_limit_bytes: usize) -> Self {
        Self {
            inner: Arc::new(inner),
            request_limit_bytes,
        }
    }

    fn requests<B, R>(&self, request: http::Request<B>) -> Request<Requests<R>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        R: Message + Default,
    {
        let limit = self.request_limit_bytes;
        Request::from_http(request.map(|body| Requests::new(Body::new(body), limit)))
    }
}

impl<T, B> Service<http::Request<B>> for AdsServer<T>
where
    T: AggregatedDiscovery,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let responses = match request.uri().path() {
            DELTA => self.inner.delta(self.requests(request)),
            SOTW => self.inner.sotw(self.requests(request)),
            other => Err(Status::unimplemented(format!("there is no method {other}"))),
        };
        ready(Ok(match responses {
            Ok(responses) => {
                let body = Body::new(ResponseBody {
                    responses: Some(responses),
                    writer: None,
                });
                let mut response = http::Response::new(body);
                let grpc = http::HeaderValue::from_static("application/grpc");
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, grpc);
                response
            }
            Err(status) => status.into_http(),
        }))
    }
}

/// Responses as an HTTP body, written as far as someone asks for more.
struct ResponseBody {
    /// `None` after the end.
    responses: Option<Responses>,
    /// The response that is being written.
    writer: Option<Writer>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(part) = self.writer.as_mut().and_then(Writer::next) {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            self.writer = None;
            let Some(responses) = &mut self.responses else {
                return Poll::Ready(None);
            };
            let ended = match std::task::ready!(responses.as_mut().poll_next(cx)) {
                Some(Ok(response)) => {
                    self.writer = Some(Writer::new(response));
                    continue;
                }
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.responses = None;
            let mut trailers = http::HeaderMap::new();
            if let Err(unsayable) = ended.add_header(&mut trailers) {
                trailers = Status::new(unsayable.code(), "")
                    .into_http::<()>()
                    .headers()
                    .clone();
            }
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }
}

/// Writes a message part by part.
struct Writer {
    /// What comes before the next resource.
    head: Bytes,
    /// The rest of a resource.
    resource: Bytes,
    resources: std::vec::IntoIter<Bytes>,
}

impl Writer {
    fn new(response: EncodedResponse) -> Self {
        let field = |resource: &Bytes| prost::encoding::bytes::encoded_len(RESOURCES, resource);
        let resources: usize = response.resources.iter().map(field).sum();
        let message = response.head.len() + resources;
        let mut head = BytesMut::with_capacity(PREFIX_BYTES + response.head.len());
        head.put_u8(0);
        head.put_u32(u32::try_from(message).expect("a configuration of less than 4 GiB"));
        head.put_slice(&response.head);
        Self {
            head: head.freeze(),
            resource: Bytes::new(),
            resources: response.resources.into_iter(),
        }
    }

    /// The next frame's worth; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < FRAME_BYTES {
            if self.head.is_empty() && self.resource.is_empty() {
                let Some(resource) = self.resources.next() else {
                    break;
                };
                let mut head = BytesMut::new();
                encode_key(RESOURCES, WireType::LengthDelimited, &mut head);
                encode_varint(resource.len() as u64, &mut head);
                (self.head, self.resource) = (head.freeze(), resource);
            }
            if out.capacity() == 0 {
                out.reserve(FRAME_BYTES);
            }
            for part in [&mut self.head, &mut self.resource] {
                let fits = part.len().min(FRAME_BYTES - out.len());
                out.extend_from_slice(&part[..fits]);
                part.advance(fits);
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}
