//! Pods, services and the ways in and out.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mesh_local::net::{DNS, NODE, Network, Protocol};
use mesh_local::up::{Host, UpError};

use super::support::{
    addr, ask, eventually, external_port, host_address, read_all, serve, service,
};

pub(crate) async fn services_reach_ready_endpoints(host: Host) {
    let network = Network::create(host).await.unwrap();
    let (one, two, client) = (
        network.add_pod().await.unwrap(),
        network.add_pod().await.unwrap(),
        network.add_pod().await.unwrap(),
    );
    serve(&one, 9080, "one");
    serve(&two, 9081, "two");
    let both = service(
        "10.96.0.20",
        80,
        Protocol::Tcp,
        &[(&one, 9080), (&two, 9081)],
    );
    let first = service("10.96.0.21", 80, Protocol::Tcp, &[(&one, 9080)]);
    network.set_services(&[both, first]).await.unwrap();

    let answers: BTreeSet<String> = (0..60)
        .map(|_| ask(&client, addr("10.96.0.20:80")).unwrap())
        .collect();
    let expected = ["one", "two"].map(|name| format!("{name} {}", client.ip()));
    assert_eq!(
        answers,
        BTreeSet::from(expected),
        "both endpoints, and they see the client's own address"
    );

    let from_node = read_all(TcpStream::connect("10.96.0.20:80").unwrap()).unwrap();
    assert!(from_node.ends_with(&format!(" {NODE}")), "{from_node}");

    // The answer would never leave the pod if it saw its own address as the client's.
    assert_eq!(
        ask(&one, addr("10.96.0.21:80")).unwrap(),
        format!("one {NODE}")
    );
}

pub(crate) async fn services_carry_udp(host: Host) {
    let network = Network::create(host).await.unwrap();
    let (server, client) = (
        network.add_pod().await.unwrap(),
        network.add_pod().await.unwrap(),
    );
    let socket = server
        .netns()
        .bind_udp(SocketAddr::from((server.ip(), 5353)))
        .unwrap();
    socket.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..length], peer).unwrap();
    });
    network
        .set_services(&[service("10.96.0.20", 53, Protocol::Udp, &[(&server, 5353)])])
        .await
        .unwrap();
    let socket = client.netns().bind_udp(addr("0.0.0.0:0")).unwrap();
    socket.set_nonblocking(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket.connect("10.96.0.20:53").unwrap();
    socket.send(b"hello").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(
        socket.recv(&mut buffer).unwrap(),
        5,
        "the answer comes from the service's address"
    );
}

pub(crate) async fn services_without_endpoints_refuse(host: Host) {
    let network = Network::create(host).await.unwrap();
    let pod = network.add_pod().await.unwrap();
    network
        .set_services(&[service("10.96.0.20", 80, Protocol::Tcp, &[])])
        .await
        .unwrap();
    let started = Instant::now();
    for target in ["10.96.0.20:80", "10.96.0.20:81", "10.96.77.1:80"] {
        let from_pod = pod.netns().connect(addr(target)).unwrap_err();
        assert_eq!(
            from_pod.kind(),
            ErrorKind::ConnectionRefused,
            "{target} from a pod: {from_pod}"
        );
        let from_node = TcpStream::connect(target).unwrap_err();
        assert_eq!(
            from_node.kind(),
            ErrorKind::ConnectionRefused,
            "{target} from the node: {from_node}"
        );
    }
    // Nothing but TCP can leave the cluster; that is told at once as well.
    let udp = pod.netns().bind_udp(addr("0.0.0.0:0")).unwrap();
    udp.set_nonblocking(false).unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    udp.connect("192.0.2.1:53").unwrap();
    udp.send(b"x").unwrap();
    assert_eq!(
        udp.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "refused, not timed out"
    );
    // The node's own service addresses are served by the node.
    let dns = std::net::TcpListener::bind((DNS, 53)).unwrap();
    let client = pod.netns().connect(SocketAddr::from((DNS, 53))).unwrap();
    assert_eq!(dns.accept().unwrap().1, client.local_addr().unwrap());
}

pub(crate) async fn connections_outlive_new_rules(host: Host) {
    let network = Network::create(host).await.unwrap();
    let (server, client) = (
        network.add_pod().await.unwrap(),
        network.add_pod().await.unwrap(),
    );
    let listener = server
        .netns()
        .listen(SocketAddr::from((server.ip(), 80)))
        .unwrap();
    listener.set_nonblocking(false).unwrap();
    network
        .set_services(&[service("10.96.0.20", 80, Protocol::Tcp, &[(&server, 80)])])
        .await
        .unwrap();
    let mut stream = client.netns().connect(addr("10.96.0.20:80")).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    network.set_services(&[]).await.unwrap();
    stream.write_all(b"ping").unwrap();
    let mut buffer = [0; 4];
    accepted.read_exact(&mut buffer).unwrap();
    accepted.write_all(b"pong").unwrap();
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
    assert!(client.netns().connect(addr("10.96.0.20:80")).is_err());
}

pub(crate) async fn pods_see_each_others_addresses(host: Host) {
    let network = Network::create(host).await.unwrap();
    let (server, client) = (
        network.add_pod().await.unwrap(),
        network.add_pod().await.unwrap(),
    );
    serve(&server, 80, "server");
    let to = SocketAddr::from((server.ip(), 80));
    assert_eq!(ask(&client, to).unwrap(), format!("server {}", client.ip()));
    assert_eq!(
        ask(&server, to).unwrap(),
        format!("server {}", server.ip()),
        "by its own loopback"
    );
    assert_eq!(
        read_all(TcpStream::connect(to).unwrap()).unwrap(),
        format!("server {NODE}")
    );
}

pub(crate) async fn removed_pods_leave_nothing(host: Host) {
    let network = Network::create(host).await.unwrap();
    let interfaces = || std::fs::read_dir("/proc/self/net/dev_snmp6").map_or(0, Iterator::count);
    let before = interfaces();
    let pod = network.add_pod().await.unwrap();
    let ip = pod.ip();
    let dropped = network.add_pod().await.unwrap();
    assert_ne!(ip, dropped.ip());
    network.remove_pod(pod).await.unwrap();
    drop(dropped);
    eventually("the interfaces are gone", || interfaces() == before);
    let next = network.add_pod().await.unwrap();
    assert!(next.ip() > ip, "addresses are not reused at once");
}

pub(crate) async fn external_hosts_are_reached(host: Host) {
    let Some(outside) = host_address(&host).await else {
        return println!(
            "*** SKIPPED external_hosts_are_reached: the host has no address but loopback"
        );
    };
    let network = Network::create(host).await.unwrap();
    let pod = network.add_pod().await.unwrap();
    let to = SocketAddr::new(outside, external_port());
    assert_eq!(ask(&pod, to).unwrap(), "external");
    let from_node = tokio::task::spawn_blocking(move || read_all(TcpStream::connect(to).unwrap()));
    assert_eq!(from_node.await.unwrap().unwrap(), "external");
    // Nobody listens there: the connection is reset, not ended in good order.
    let refused = ask(&pod, SocketAddr::new(outside, 1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionReset, "{refused}");
}

pub(crate) async fn ports_are_published_on_the_host(host: Host) {
    let network = Network::create(host.clone()).await.unwrap();
    let pod = network.add_pod().await.unwrap();
    serve(&pod, 80, "pod");
    let service = service("10.96.0.20", 8080, Protocol::Tcp, &[(&pod, 80)]);
    network.set_services(&[service]).await.unwrap();
    for target in [SocketAddr::from((pod.ip(), 80)), addr("10.96.0.20:8080")] {
        let published = network.publish(addr("127.0.0.1:0"), target).await.unwrap();
        let port = published.address().port();
        // From the host's network, as a browser would.
        let stream = host
            .connect("127.0.0.1", port)
            .await
            .unwrap()
            .into_std()
            .unwrap();
        stream.set_nonblocking(false).unwrap();
        let answer = tokio::task::spawn_blocking(move || read_all(stream))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer, format!("pod {NODE}"));
        drop(published);
        let mut open = true;
        while open {
            open = host.connect("127.0.0.1", port).await.is_ok();
        }
    }
    let nowhere = network
        .publish(addr("127.0.0.1:0"), addr("10.96.0.99:1"))
        .await
        .unwrap();
    // The reset may come before the connect has been seen to succeed.
    let reset = match host.connect("127.0.0.1", nowhere.address().port()).await {
        Ok(stream) => {
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            tokio::task::spawn_blocking(move || read_all(stream))
                .await
                .unwrap()
                .unwrap_err()
        }
        Err(UpError::Io { source, .. }) => source,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

pub(crate) async fn taken_ports_are_named(host: Host) {
    let first = host.listen(addr("127.0.0.1:0")).await.unwrap();
    let taken = first.local_addr().unwrap();
    let error = host.listen(taken).await.unwrap_err();
    assert!(
        matches!(error, UpError::PortTaken { addr } if addr == taken),
        "{error}"
    );
    let refused = host.connect("127.0.0.1", 1).await.unwrap_err();
    let UpError::Io { source, .. } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    let unknown = host.connect("no-such-host.invalid", 80).await.unwrap_err();
    assert!(
        unknown.to_string().contains("no-such-host.invalid:80"),
        "{unknown}"
    );
}
