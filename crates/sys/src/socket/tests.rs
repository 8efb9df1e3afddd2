use super::*;
use crate::testing::isolated;

#[test]
fn workers_share_a_port() {
    let first = listen_reuse_port("127.0.0.1:0".parse().unwrap(), 128).unwrap();
    let addr = first.local_addr().unwrap();
    let second = listen_reuse_port(addr, 128).unwrap();
    assert_eq!(second.local_addr().unwrap(), addr);
    let _client = std::net::TcpStream::connect(addr).unwrap();
}

#[tokio::test]
async fn outbound_binds_its_source() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let from: IpAddr = "127.0.0.6".parse().unwrap();
    let stream = new_outbound(to, Some(from), None)
        .unwrap()
        .connect(to)
        .await
        .unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), from);
    let keepalive = Keepalive {
        time: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        probes: 3,
    };
    let options = TcpOptions {
        keepalive: Some(keepalive),
        user_timeout: Some(Duration::from_secs(30)),
        ..TcpOptions::default()
    };
    options.apply(&stream).unwrap();
    assert!(stream.nodelay().unwrap());
    let mixed = new_outbound(to, Some("::1".parse().unwrap()), None).unwrap_err();
    assert_eq!(mixed.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn marks_sockets_with_the_capability() {
    isolated("socket::tests::marks_sockets_with_the_capability", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set_mark(&socket, 1337).unwrap();
        assert_eq!(socket.mark().unwrap(), 1337);
    });
}

#[test]
fn reset_reaches_the_peer() {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    reset_on_close(&server).unwrap();
    drop(server);
    assert_eq!(
        client.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[test]
fn descriptor_limit_is_raised_to_the_hard_one() {
    let hard = raise_nofile().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, hard);
}

#[tokio::test]
async fn connections_within_the_host_are_not_paced() {
    let control = |socket: &dyn AsFd| {
        let name = getsockopt(&socket.as_fd(), sockopt::TcpCongestion).unwrap();
        name.to_string_lossy().trim_end_matches('\0').to_owned()
    };
    let listener = listen_reuse_port("127.0.0.1:0".parse().unwrap(), 8).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let to = listener.local_addr().unwrap();
    let socket = new_outbound(to, None, None).unwrap();
    let (near, far) = tokio::join!(socket.connect(to), listener.accept());
    assert_eq!(control(&near.unwrap()), "reno");
    assert_eq!(control(&far.unwrap().0), "reno");

    let elsewhere = "192.0.2.1:80".parse().unwrap();
    let from_here = new_outbound(elsewhere, Some([127, 0, 0, 6].into()), None).unwrap();
    assert_eq!(control(&from_here), "reno");
    let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    let remote = new_outbound(elsewhere, None, None).unwrap();
    assert_eq!(control(&remote), default.trim());
}
