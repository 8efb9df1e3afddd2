//! A stranger who speaks something like HTTP/2.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Empty;
use mesh_proxy::detect::Prefixed;
use mesh_proxy::http2::frame::PREFACE;
use mesh_proxy::http2::server::Server;
use mesh_proxy::http2::{Settings, client};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pieces::{Delivery, pieces};

const SETTINGS: Settings = Settings {
    stream_window: 1000,
    connection_window: 70_000,
    frame_bytes: 16 * 1024,
    header_list_bytes: 1000,
    concurrent_streams: 5,
};

/// What comes is given, what goes is taken.
struct Wire<I>(Delivery<I>);

impl<'a, I: Iterator<Item = &'a [u8]> + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<I: Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A runtime for the timers; nothing here waits for one.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(test);
}

/// A server answers what is a request, and ends with the input.
pub(crate) fn requests(input: &[u8]) {
    let Some((seed, input)) = input.split_first() else {
        return;
    };
    let whole = [PREFACE, input].concat();
    run(async {
        let wire = Wire(Delivery(pieces(&whole, *seed)));
        let mut server = Server::new(Prefixed::with_prefix(Bytes::new(), wire), SETTINGS);
        let mut answers = Vec::new();
        while let Ok(Some((request, respond))) = server.accept().await {
            assert!(request.headers().len() <= SETTINGS.header_list_bytes as usize / 32);
            answers.push(Box::pin(respond.send(Response::new(request.into_body()))));
            let mut cx = Context::from_waker(Waker::noop());
            answers.retain_mut(|answer| answer.as_mut().poll(&mut cx).is_pending());
            assert!(answers.len() <= SETTINGS.concurrent_streams as usize);
        }
        for answer in answers {
            // The connection is gone: nothing may hang.
            let _ = answer.await;
        }
    });
}

/// A client that asks three times gets answers or errors.
pub(crate) fn responses(input: &[u8]) {
    let Some((seed, input)) = input.split_first() else {
        return;
    };
    run(async {
        let (client, connection) = client::connect(Wire(Delivery(pieces(input, *seed))), SETTINGS);
        let exchanges: Vec<_> = (0..3)
            .map(|_| {
                let request = Request::get("http://a/").body(Empty::<Bytes>::new());
                client.send(request.expect("a request")).expect("a stream")
            })
            .collect();
        let _ = connection.run(None).await;
        for exchange in exchanges {
            let Ok(response) = exchange.response().await else {
                continue;
            };
            let mut body = pin!(response.into_body());
            while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
        }
    });
}
