//! Shadow requests: sent beside the real one and forgotten. Nothing they do reaches the client.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use mesh_route::cluster::{HttpProtocol, Limit};
use mesh_route::{Cluster, PickRequest};
use std::sync::Arc;

use super::attempt::{Forwarding, build};
use super::body::RequestBody;
use super::incoming::Incoming;
use super::payload::Payload;
use crate::upstream::pool::Protocol;
use crate::upstream::{self, Reuse, Target};
use crate::worker::Worker;

/// A shadow that has no answer by then is given up; Envoy uses the route's timeout, which may
/// be none.
const LIMIT: Duration = Duration::from_secs(15);

/// Starts the shadows of a request. Call before the first attempt: they share its body.
pub(crate) fn start(cx: &Forwarding<'_>, payload: &Payload) {
    for mirror in &cx.forward.mirrors {
        let worker = &cx.connection.worker;
        if !mirror.chosen(worker.random()) {
            continue;
        }
        let Some(cluster) = cx.snapshot.cluster(&mirror.cluster).cloned() else {
            continue;
        };
        send(cx, cluster, payload.tee(), mirror.keep_host);
    }
}

fn send(cx: &Forwarding<'_>, cluster: Arc<Cluster>, body: RequestBody, keep_host: bool) {
    let worker = Rc::clone(&cx.connection.worker);
    let pick = PickRequest {
        hash: cx.hash,
        original_destination: Some(cx.connection.destination),
        random: worker.random(),
        ..PickRequest::default()
    };
    let Ok(picked) = cluster.pick(&pick) else {
        return;
    };
    let http2 = cluster.http.protocol == HttpProtocol::Http2;
    let version = if http2 {
        http::Version::HTTP_2
    } else {
        http::Version::HTTP_11
    };
    let shadow = Forwarding {
        cluster: &cluster,
        ..*cx
    };
    let Ok(mut request) = build(&shadow, 1, version, &picked.endpoint, None, body) else {
        return;
    };
    if !keep_host {
        rename(&mut request);
    }
    worker.clone().spawn(async move {
        let protocol = if http2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        let target = Target {
            cluster: &cluster,
            endpoint: &picked.endpoint,
            protocol,
            host: None,
        };
        let exchange = Box::pin(exchange(&worker, &target, request));
        if tokio::time::timeout(LIMIT, exchange).await.is_err() {
            tracing::debug!(cluster = %cluster.name, "shadow request timed out");
        }
    });
}

async fn exchange(worker: &Rc<Worker>, target: &Target<'_>, request: http::Request<RequestBody>) {
    let Ok(_permit) = target.cluster.acquire(Limit::Requests) else {
        return;
    };
    let stats = worker.stats.cluster(&target.cluster.name);
    stats.rq_total.inc();
    let _active = stats.rq_active.hold();
    let Ok(mut lease) = upstream::acquire(worker, target, Reuse::Allowed).await else {
        return;
    };
    match lease.send(request).await {
        Ok(response) => {
            if drain(response.into_body()).await {
                lease.release();
            }
        }
        Err(failed) => tracing::debug!(reason = %failed.error.reason, "shadow request failed"),
    }
}

/// Reads a body to its end; false if it broke.
async fn drain(mut body: Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

/// `host-shadow`, before the port if there is one, as Envoy does.
fn rename(request: &mut http::Request<RequestBody>) {
    use http::header::{HOST, HeaderValue};
    if let Some(host) = request
        .headers()
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        && let Ok(value) = HeaderValue::from_str(&shadow(host))
    {
        request.headers_mut().insert(HOST, value);
    }
    if let Some(authority) = request.uri().authority()
        && let Ok(authority) = http::uri::Authority::try_from(shadow(authority.as_str()))
    {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(authority);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

fn shadow(host: &str) -> String {
    // The colons of an IPv6 address stand in brackets.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => format!("{name}-shadow:{port}"),
        _ => format!("{host}-shadow"),
    }
}

#[cfg(test)]
mod tests {
    use super::shadow;

    #[test]
    fn the_port_stays_behind_the_name() {
        for (host, expected) in [
            ("a.example", "a.example-shadow"),
            ("a.example:80", "a.example-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
        ] {
            assert_eq!(shadow(host), expected);
        }
    }
}
