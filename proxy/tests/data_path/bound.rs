//! Ports of a sidecar's own, dialled without a redirect.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mesh_proxy::listen;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::http1::echo;
use crate::rig::{Rig, get, run};
use crate::xds::{cluster, manager, outbound_listener, route_to, routes, with};

/// Who reports a request that came by a port of the sidecar's own.
async fn reporter(direction: &str, expected: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap();
    drop(taken);
    let rig = Rig::new("server");
    let listener = with(
        outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
        json!({
            "name": at.to_string(),
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": at.port()}},
            "bind_to_port": true,
            "traffic_direction": direction,
        }),
    );
    rig.apply(&[cluster("a", &[echo().await]), listener]);
    let worker = Rc::clone(&rig.worker);
    let listening = tokio::task::spawn_local(async move { listen::serve(&worker).await });
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(at).await.is_err() {
        assert!(Instant::now() < end, "the port is not bound");
        tokio::task::yield_now().await;
    }
    let answer = get(at, "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let label = format!("reporter=\"{expected}\"");
    rig.until("the request is counted", || {
        !rig.lines("istio_requests_total", &[]).is_empty()
    })
    .await;
    let lines = rig.lines("istio_requests_total", &[]);
    assert!(lines.iter().all(|line| line.contains(&label)), "{lines:?}");
    listening.abort();
    rig.finish().await;
}

#[test]
fn the_servers_sidecar_reports_what_comes_by_an_inbound_port() {
    run(reporter("INBOUND", "destination"));
}

#[test]
fn the_clients_sidecar_reports_what_comes_by_an_outbound_port() {
    run(reporter("OUTBOUND", "source"));
}
