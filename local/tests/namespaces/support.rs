//! What the scenarios share.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mesh_local::net::{PodNetwork, Protocol, ServicePort};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// First argument of the inner process.
pub(crate) const INNER: &str = "inner";
/// First argument of an outer process that is a child of the test.
pub(crate) const OUTER: &str = "outer";

static EXTERNAL_PORT: OnceLock<u16> = OnceLock::new();

/// Port of the [`external_server`], told to the inner process by the outer one.
pub(crate) fn external_port() -> u16 {
    *EXTERNAL_PORT.get().unwrap()
}

/// Notes what the outer process has told.
pub(crate) fn set_external_port(port: &str) {
    EXTERNAL_PORT.set(port.parse().unwrap()).unwrap();
}

pub(crate) type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A server on all of the host's addresses that answers each connection with `external` and closes it; its
/// port.
pub(crate) async fn external_server() -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"external").await;
        }
    });
    port
}

/// An address of the host that is not loopback; found in the host's network by the outer process's route.
pub(crate) async fn host_address(host: &mesh_local::up::Host) -> Option<IpAddr> {
    let resolver = host.resolver().await.ok()?;
    let ip = resolver.local_addr().ok()?.ip();
    (!ip.is_loopback()).then_some(ip)
}

/// Answers every connection to `pod`'s `port` with `answer` and the client's address.
pub(crate) fn serve(pod: &PodNetwork, port: u16, answer: &'static str) {
    let listener = pod
        .netns()
        .listen(SocketAddr::new(IpAddr::V4(pod.ip()), port))
        .unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            let _ = write!(stream, "{answer} {peer}");
        }
    });
}

/// What the server says to a connection from `pod`.
pub(crate) fn ask(pod: &PodNetwork, addr: SocketAddr) -> std::io::Result<String> {
    read_all(pod.netns().connect(addr)?)
}

pub(crate) fn read_all(mut stream: TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn service(
    address: &str,
    port: u16,
    protocol: Protocol,
    endpoints: &[(&PodNetwork, u16)],
) -> ServicePort {
    let endpoints = endpoints
        .iter()
        .map(|(pod, port)| std::net::SocketAddrV4::new(pod.ip(), *port))
        .collect();
    ServicePort {
        address: address.parse().unwrap(),
        port,
        protocol,
        endpoints,
    }
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A pipe whose writing end is for a program.
pub(crate) fn pipe() -> (std::fs::File, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    (reader.into(), writer)
}

/// Waits until `done` holds, for at most ten seconds.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::yield_now();
    }
}
