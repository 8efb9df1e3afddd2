use std::os::fd::AsFd;

use super::*;
use crate::testing::isolated;

const HARDWARE: [u8; 6] = [0x0a, 0x58, 10, 244, 0, 1];

#[test]
fn a_pod_is_reached_through_the_bridge() {
    isolated("link::tests::a_pod_is_reached_through_the_bridge", || {
        let node = NetNs::current().unwrap();
        let pod = NetNs::create().unwrap();
        let gateway = Ipv4Addr::new(10, 244, 0, 1);
        in_netns(&node, async |links: Links| {
            let bridge = links.add_bridge("mesh0", HARDWARE).await?;
            links
                .add_address(bridge, "10.244.0.1/16".parse().unwrap())
                .await?;
            links.add_veth("v1", bridge, "eth0", pod.as_fd()).await?;
            assert!(links.names().await?.contains(&"v1".to_owned()));
            let again = links.add_bridge("mesh0", HARDWARE).await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            Ok(())
        })
        .unwrap();
        in_netns(&pod, async |links: Links| {
            let eth0 = links.find("eth0").await?;
            links
                .add_address(eth0, "10.244.0.5/32".parse().unwrap())
                .await?;
            links.set_up(eth0).await?;
            links
                .add_route("0.0.0.0/0".parse().unwrap(), eth0, Some(gateway), None)
                .await
        })
        .unwrap();
        let listener = pod.listen("10.244.0.5:80".parse().unwrap()).unwrap();
        let stream = std::net::TcpStream::connect("10.244.0.5:80").unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), gateway);
        assert_eq!(stream.local_addr().unwrap().ip(), gateway);
        in_netns(&node, async |links: Links| {
            links.delete("v1").await?;
            links.delete("v1").await
        })
        .unwrap();
        let gone = in_netns(&pod, async |links: Links| links.find("eth0").await).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn sysctls_and_loopback_addresses_are_the_namespaces() {
    isolated(
        "link::tests::sysctls_and_loopback_addresses_are_the_namespaces",
        || {
            let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
            let other = NetNs::create().unwrap();
            other
                .run(|| write_sysctl("net/ipv4/ip_forward", "1"))
                .unwrap();
            assert_eq!(
                std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(),
                before
            );
            let missing = write_sysctl("net/ipv4/no_such_thing", "1")
                .unwrap_err()
                .to_string();
            assert!(missing.contains("no_such_thing"), "{missing}");
            add_loopback_address("127.9.9.9".parse().unwrap()).unwrap();
            add_loopback_address("127.9.9.9".parse().unwrap()).unwrap();
        },
    );
}
