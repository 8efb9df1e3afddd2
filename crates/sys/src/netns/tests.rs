use super::*;
use crate::link::{Links, in_netns};
use crate::testing::isolated;

#[test]
fn sockets_stay_in_the_namespace_that_made_them() {
    isolated(
        "netns::tests::sockets_stay_in_the_namespace_that_made_them",
        || {
            let netns = NetNs::create().unwrap();
            let addr: SocketAddr = "127.0.0.1:4000".parse().unwrap();
            let unreachable = netns.connect(addr).unwrap_err();
            assert_eq!(
                unreachable.kind(),
                io::ErrorKind::NetworkUnreachable,
                "its loopback is down"
            );
            in_netns(&netns, async |links: Links| links.set_loopback_up().await).unwrap();
            let listener = netns.listen(addr).unwrap();
            listener.set_nonblocking(false).unwrap();
            assert_eq!(
                TcpStream::connect(addr).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            let client = netns.connect(addr).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(
                run_in(&netns, || TcpStream::connect(addr))
                    .unwrap()
                    .peer_addr()
                    .unwrap(),
                addr
            );
            netns.bind_udp(addr).unwrap();
        },
    );
}

#[test]
fn panics_go_on_in_the_caller() {
    isolated("netns::tests::panics_go_on_in_the_caller", || {
        let netns = NetNs::current().unwrap();
        let caught =
            std::panic::catch_unwind(|| netns.run(|| -> io::Result<()> { panic!("expected") }));
        assert!(caught.is_err());
    });
}
