//! `meshproxy drain`: clients from elsewhere go, the application beside us finishes its work.

use std::net::SocketAddr;

use mesh_telemetry::drain::Phase;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http1::echo;
use crate::http2::{call, connect, grpc};
use crate::rig::{Rig, get, read_head, run};
use crate::xds::{
    cluster, http2_cluster, inbound_cluster, inbound_routes, manager, outbound_listener, route_to,
    routes, virtual_inbound,
};

/// The proxy of `app`, which also calls another service; where clients reach the two ways.
async fn proxy(app: SocketAddr, elsewhere: Value) -> (Rig, SocketAddr, SocketAddr) {
    let rig = Rig::new("reviews");
    let http = manager(inbound_routes(app.port()), json!({}));
    rig.apply(&[
        inbound_cluster(app.port()),
        virtual_inbound(app.port(), http, true),
        elsewhere,
        outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
    ]);
    let inbound = rig.inbound(app).await;
    let outbound = rig.outbound("10.96.0.1:80").await;
    (rig, inbound, outbound)
}

/// One HEAD request on a connection that stays; whether the answer tells the client to go.
async fn told_to_go(client: &mut TcpStream) -> bool {
    let request = b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.write_all(request).await.unwrap();
    let head = read_head(client).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    head.to_lowercase().contains("connection: close")
}

async fn drain_inbound(rig: &Rig) {
    rig.signal.advance(Phase::DrainingInbound);
    let told = || rig.worker.phase() == Phase::DrainingInbound;
    rig.until("the worker knows", told).await;
}

#[test]
fn http1_clients_from_elsewhere_are_told_to_go() {
    run(async {
        let app = echo().await;
        let (rig, inbound, outbound) = proxy(app, cluster("a", &[echo().await])).await;
        let mut client = TcpStream::connect(inbound).await.unwrap();
        let mut own = TcpStream::connect(outbound).await.unwrap();
        assert!(!told_to_go(&mut client).await);
        assert!(!told_to_go(&mut own).await);
        drain_inbound(&rig).await;
        assert!(told_to_go(&mut client).await);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert!(!told_to_go(&mut own).await);
        let mut late = TcpStream::connect(inbound).await.unwrap();
        assert!(told_to_go(&mut late).await);
        assert!(get(outbound, "/late", "").await.contains("GET /late\n"));
        drop((late, own));
        rig.finish().await;
    });
}

#[test]
fn http2_clients_from_elsewhere_are_told_to_go() {
    run(async {
        let app = grpc().await;
        let (rig, inbound, outbound) = proxy(app, http2_cluster("a", &[grpc().await])).await;
        let mut client = connect(inbound).await;
        let mut own = connect(outbound).await;
        for sender in [&mut client, &mut own] {
            assert_eq!(sender.send_request(call("x")).await.unwrap().status(), 200);
        }
        drain_inbound(&rig).await;
        rig.until("the client has gone", || client.is_closed())
            .await;
        let mut late = connect(inbound).await;
        for sender in [&mut late, &mut own] {
            assert_eq!(sender.send_request(call("x")).await.unwrap().status(), 200);
        }
        drop(own);
        rig.finish().await;
    });
}
