//! Upgrades and CONNECT: once both sides have agreed, bytes are copied both ways and HTTP is over.

use std::cell::Cell;
use std::rc::Rc;

use http::header::{self, HeaderMap};
use http::{Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_telemetry::access_log::ResponseFlag;
use mesh_telemetry::drain::Phase;

use super::head::Head;
use super::report::Report;
use super::response::Held;
use crate::tcp::copy::{Observer, both_ways};
use crate::worker::Worker;

/// Whether the upstream has agreed to the upgrade that `head` asked for.
pub(crate) fn agreed(head: &Head, status: StatusCode) -> bool {
    match head.upgrade.as_deref() {
        None => false,
        Some("connect") => status.is_success(),
        Some(_) => status == StatusCode::SWITCHING_PROTOCOLS,
    }
}

/// The response's head as the client's own protocol says "agreed".
pub(crate) fn translate(head: &Head, status: &mut StatusCode, headers: &mut HeaderMap) {
    let extended = head.version == Version::HTTP_2 && head.method == Method::CONNECT;
    if extended && *status == StatusCode::SWITCHING_PROTOCOLS {
        *status = StatusCode::OK;
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    }
}

/// Copies between client and upstream in a task of its own until one side ends.
///
/// `report` is finished at the end of the tunnel, which may be hours away.
pub(crate) fn start(
    worker: &Rc<Worker>,
    client: OnUpgrade,
    response: Response<Incoming>,
    held: Held,
    report: Box<Report>,
) {
    let upstream = hyper::upgrade::on(response);
    let closing = Rc::clone(worker);
    worker.spawn(async move {
        let _held = held;
        let mut report = report;
        let sides = futures::future::try_join(client, upstream).await;
        let (client, upstream) = match sides {
            Ok(sides) => sides,
            Err(error) => {
                tracing::debug!(%error, "upgrade did not come about");
                return;
            }
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let counted = Counted::default();
        let copying = both_ways(&mut client, &mut upstream, None, &counted);
        tokio::select! {
            biased;
            () = closing.shared.drain.reached(Phase::Closing) => {
                report.cut(ResponseFlag::LocalReset);
            }
            result = copying => match result {
                Ok(_end) => report.complete(),
                Err(_broken) => report.cut(ResponseFlag::UpstreamConnectionTermination),
            },
        }
        report.bytes_sent += counted.backward.get();
        report.tunnelled += counted.forward.get();
    });
}

#[derive(Default)]
struct Counted {
    forward: Cell<u64>,
    backward: Cell<u64>,
}

impl Observer for Counted {
    fn forward(&self, bytes: u64) {
        self.forward.set(self.forward.get() + bytes);
    }

    fn backward(&self, bytes: u64) {
        self.backward.set(self.backward.get() + bytes);
    }
}
