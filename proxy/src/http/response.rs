//! Response bodies on their way to the client, with everything that lasts as long as they do:
//! the upstream stream, the timeouts, the report.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_route::cluster::LimitGuard;
use mesh_route::route::Timeouts;
use mesh_route::{HttpManager, Picked};
use mesh_telemetry::access_log::ResponseFlag;
use mesh_telemetry::metrics::GaugeGuard;
use tokio::time::{Instant, Sleep};

use super::body::BodyError;
use super::incoming::Incoming;
use super::report::Report;
use crate::upstream::Lease;

/// A response body.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    data: Data,
    report: Option<Box<Report>>,
}

#[derive(Debug)]
enum Data {
    Full(Bytes),
    Upstream(Box<Stream>),
}

/// What an upstream's response holds until its body has ended.
#[derive(Debug)]
pub(crate) struct Held {
    /// The stream or connection.
    pub(crate) lease: Lease,
    /// The endpoint's in-flight count.
    pub(crate) _picked: Picked,
    /// The circuit breaker's request.
    pub(crate) _permit: LimitGuard,
    /// The cluster's gauge.
    pub(crate) _active: GaugeGuard,
}

/// Until when the body must be complete, and how long it may pause.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadlines {
    /// The route's timeout.
    pub(crate) total: Option<Instant>,
    /// The client must have sent its whole request.
    pub(crate) request: Option<Instant>,
    /// Maximum stream duration.
    pub(crate) stream: Option<Instant>,
    /// Longest pause.
    pub(crate) idle: Option<Duration>,
}

impl Deadlines {
    /// Those of a request that begins now.
    pub(crate) fn new(manager: &HttpManager, timeouts: &Timeouts) -> Self {
        let idle = timeouts
            .idle
            .or(manager.stream_idle_timeout)
            .filter(|limit| !limit.is_zero());
        let stream = timeouts.max_stream.or(manager.max_stream_duration);
        if timeouts.total.is_none() && stream.is_none() && manager.request_timeout.is_none() {
            return Deadlines {
                idle,
                ..Deadlines::default()
            };
        }
        let now = Instant::now();
        Deadlines {
            total: timeouts.total.map(|limit| now + limit),
            request: manager.request_timeout.map(|limit| now + limit),
            stream: stream.map(|limit| now + limit),
            idle,
        }
    }
}

#[derive(Debug)]
struct Stream {
    incoming: Incoming,
    held: Option<Held>,
    deadlines: Deadlines,
    last: Instant,
    /// Armed only when the body has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// A body of our own.
    pub(crate) fn full(data: Bytes) -> Self {
        Self {
            data: Data::Full(data),
            report: None,
        }
    }

    /// An upstream's body.
    pub(crate) fn upstream(incoming: Incoming, held: Held, deadlines: Deadlines) -> Self {
        let stream = Stream {
            incoming,
            held: Some(held),
            deadlines,
            last: Instant::now(),
            timer: None,
        };
        Self {
            data: Data::Upstream(Box::new(stream)),
            report: None,
        }
    }

    /// The report is finished when the body is.
    pub(crate) fn attach(&mut self, report: Box<Report>) {
        self.report = Some(report);
        if self.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Data::Upstream(stream) = &mut self.data
            && let Some(held) = stream.held.take()
        {
            held.lease.release();
        }
        if let Some(mut report) = self.report.take() {
            report.complete();
        }
    }

    fn cut(&mut self, flag: ResponseFlag) {
        if let Data::Upstream(stream) = &mut self.data {
            // Not released: an HTTP/1.1 connection in the middle of a body is of no use.
            stream.held = None;
        }
        if let Some(mut report) = self.report.take() {
            report.cut(flag);
        }
    }

    fn observe(&mut self, frame: &Frame<Bytes>) {
        let Some(report) = &mut self.report else {
            return;
        };
        if let Some(data) = frame.data_ref() {
            report.bytes_sent += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            report.trailers(trailers);
        }
    }
}

impl Stream {
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Option<ResponseFlag> {
        let idle = self.deadlines.idle.map(|idle| self.last + idle);
        let next = [self.deadlines.total, self.deadlines.stream, idle]
            .into_iter()
            .flatten()
            .min()?;
        loop {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() > next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            let now = Instant::now();
            if self.deadlines.total.is_some_and(|at| at <= now) {
                return Some(ResponseFlag::UpstreamRequestTimeout);
            }
            if self.deadlines.stream.is_some_and(|at| at <= now) {
                return Some(ResponseFlag::UpstreamMaxStreamDurationReached);
            }
            if idle.is_some_and(|at| at <= now) {
                return Some(ResponseFlag::StreamIdleTimeout);
            }
            // Fired for an earlier deadline that has moved since.
            timer.as_mut().reset(next);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.data {
            Data::Full(data) if data.is_empty() => Poll::Ready(None),
            Data::Full(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Data::Upstream(stream) => match Pin::new(&mut stream.incoming).poll_frame(cx) {
                Poll::Ready(frame) => {
                    stream.last = if stream.deadlines.idle.is_some() {
                        Instant::now()
                    } else {
                        stream.last
                    };
                    Poll::Ready(frame)
                }
                Poll::Pending => match stream.poll_timers(cx) {
                    None => return Poll::Pending,
                    Some(flag) => {
                        this.cut(flag);
                        return Poll::Ready(Some(Err("response timed out".into())));
                    }
                },
            },
        };
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.observe(&frame);
                // Nobody polls again after trailers, and HTTP/1.1 does not tell before.
                if frame.is_trailers() || this.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.cut(ResponseFlag::UpstreamConnectionTermination);
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.data {
            Data::Full(data) => data.is_empty(),
            Data::Upstream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Data::Full(data) => SizeHint::with_exact(data.len() as u64),
            Data::Upstream(stream) => stream.incoming.size_hint(),
        }
    }
}
