//! The node's own addresses, routes and settings.

use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use mesh_sys::link::{Index, Links, write_sysctl};

use super::{API, BRIDGE, DNS, NODE, POD_NET};

/// Locally administered, made of the node's address as CNI plugins do.
const HARDWARE: [u8; 6] = {
    let [a, b, c, d] = NODE.octets();
    [0x0a, 0x58, a, b, c, d]
};

/// Makes the bridge with the node's addresses in the calling thread's namespace.
pub(super) async fn configure(links: &Links) -> io::Result<Index> {
    links.set_loopback_up().await?;
    // The service addresses that the node itself answers.
    let loopback = links.find("lo").await?;
    for address in [DNS, API] {
        links
            .add_address(loopback, IpNet::from(IpAddr::V4(address)))
            .await?;
    }
    let bridge = links.add_bridge(BRIDGE, HARDWARE).await?;
    let _ = write_sysctl(&format!("net/ipv6/conf/{BRIDGE}/disable_ipv6"), "1");
    let address = Ipv4Net::new(NODE, POD_NET.prefix_len()).map_err(io::Error::other)?;
    links.add_address(bridge, IpNet::V4(address)).await?;
    forward_packets()?;
    // Where `br_netfilter` is loaded (Docker does), the bridge would run the IP rules on packets that it then
    // routes, and again on the way. Other kernels have no such setting.
    let _ = write_sysctl("net/bridge/bridge-nf-call-iptables", "0");
    // Nothing is reached by this route: TCP is redirected and the rest refused. But without one the kernel
    // refuses to connect before any rule sees the packet.
    links
        .add_route(Ipv4Net::default(), bridge, None, Some(NODE))
        .await?;
    Ok(bridge)
}

fn forward_packets() -> io::Result<()> {
    write_sysctl("net/ipv4/ip_forward", "1")?;
    for interface in ["all", "default", BRIDGE] {
        let set = |name: &str, value: &str| {
            write_sysctl(&format!("net/ipv4/conf/{interface}/{name}"), value)
        };
        // Packets between pods come in and go out by the bridge on purpose: don't advise a shorter way.
        set("send_redirects", "0")?;
        set("rp_filter", "0")?;
    }
    Ok(())
}
