//! The node's rules: service addresses, refusals, and the way out of the cluster.
//!
//! kube-proxy's semantics. A service's port leads to one of its ready endpoints, chosen at random per
//! connection, from pods and from the node. A service address that leads nowhere (no endpoint, no such port)
//! refuses. A pod that reaches itself through a service sees the node as its client, because an answer to
//! its own address would never leave it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use mesh_sys::nft::{Chain, Family, Hook, Kind, Match, Op, Proto, Rule, Table, Verdict, host};

use super::{BRIDGE, POD_NET, Protocol, SERVICE_NET, ServicePort};

/// The only table on the node.
pub(super) const TABLE: &str = "mesh_node";

const BEFORE_ROUTING: i32 = -100; // NF_IP_PRI_NAT_DST
const FILTER: i32 = 0; // NF_IP_PRI_FILTER
const AFTER_ROUTING: i32 = 100; // NF_IP_PRI_NAT_SRC

/// All rules of the node for these services; TCP that leaves the cluster goes to `egress_port`.
pub(super) fn table(services: &[ServicePort], egress_port: u16) -> Table {
    let from_pods = Match::InInterface(Op::Is, BRIDGE.to_owned());
    let with_endpoints: Vec<&ServicePort> = services
        .iter()
        .filter(|service| !service.endpoints.is_empty())
        .collect();
    let mut chains = vec![
        Chain::base(
            "PREROUTING",
            Kind::Nat,
            Hook::Prerouting,
            BEFORE_ROUTING,
            vec![
                Rule::new([], Verdict::Jump("SERVICES".to_owned())),
                leaves_the_cluster(Some(from_pods), egress_port),
            ],
        ),
        Chain::base(
            "OUTPUT",
            Kind::Nat,
            Hook::Output,
            BEFORE_ROUTING,
            vec![
                Rule::new([], Verdict::Jump("SERVICES".to_owned())),
                leaves_the_cluster(None, egress_port),
            ],
        ),
        Chain::base(
            "POSTROUTING",
            Kind::Nat,
            Hook::Postrouting,
            AFTER_ROUTING,
            hairpins(&with_endpoints),
        ),
        // What is still here has not been translated: a service without endpoints, an unknown address, or a
        // protocol that cannot leave the cluster.
        Chain::base("REFUSE_FORWARD", Kind::Filter, Hook::Forward, FILTER, {
            refuse(&[Match::Destination(Op::IsNot, POD_NET.into())])
        }),
        Chain::base("REFUSE_OUTPUT", Kind::Filter, Hook::Output, FILTER, {
            let to_services = Match::Destination(Op::Is, SERVICE_NET.into());
            refuse(&[to_services, Match::DestinationIsLocal(Op::IsNot)])
        }),
        Chain::regular(
            "SERVICES",
            with_endpoints
                .iter()
                .map(|service| dispatch(service))
                .collect(),
        ),
    ];
    chains.extend(with_endpoints.iter().map(|service| balance(service)));
    Table {
        family: Family::Ip,
        name: TABLE.to_owned(),
        chains,
    }
}

/// A reset for TCP, because the kernel limits how many ICMP messages it sends; port unreachable else.
fn refuse(matches: &[Match]) -> Vec<Rule> {
    let mut tcp = matches.to_vec();
    tcp.push(Match::Protocol(Op::Is, Proto::Tcp));
    vec![
        Rule::new(tcp, Verdict::RejectTcpReset),
        Rule::new(matches.to_vec(), Verdict::RejectPortUnreachable),
    ]
}

fn leaves_the_cluster(from: Option<Match>, egress_port: u16) -> Rule {
    let outside = [
        Match::Protocol(Op::Is, Proto::Tcp),
        Match::Destination(Op::IsNot, POD_NET.into()),
        Match::Destination(Op::IsNot, SERVICE_NET.into()),
        Match::DestinationIsLocal(Op::IsNot),
    ];
    Rule::new(
        from.into_iter().chain(outside),
        Verdict::Redirect(egress_port),
    )
}

fn dispatch(service: &ServicePort) -> Rule {
    let to = [
        Match::Destination(Op::Is, address(service)),
        Match::DestinationPort(Op::Is, proto(service.protocol), service.port),
    ];
    Rule::new(to, Verdict::Goto(chain_name(service)))
}

/// One endpoint in N, else one in N - 1 of the rest, and so on: each is as likely as the others.
fn balance(service: &ServicePort) -> Chain {
    let mut left =
        u32::try_from(service.endpoints.len()).expect("far fewer endpoints than pod addresses");
    let rules = service.endpoints.iter().map(|endpoint| {
        // A port can be rewritten only in a protocol that is known to have one.
        let mut matches = vec![Match::Protocol(Op::Is, proto(service.protocol))];
        if left > 1 {
            matches.push(Match::OneIn(left));
        }
        left -= 1;
        Rule::new(matches, Verdict::DestinationNat(SocketAddr::V4(*endpoint)))
    });
    Chain::regular(&chain_name(service), rules.collect())
}

fn hairpins(services: &[&ServicePort]) -> Vec<Rule> {
    let mut pods: Vec<IpNet> = services
        .iter()
        .flat_map(|service| &service.endpoints)
        .map(|endpoint| host(IpAddr::V4(*endpoint.ip())))
        .collect();
    pods.sort_unstable();
    pods.dedup();
    let itself = |pod| [Match::Source(Op::Is, pod), Match::Destination(Op::Is, pod)];
    pods.into_iter()
        .map(|pod| Rule::new(itself(pod), Verdict::Masquerade))
        .collect()
}

fn address(service: &ServicePort) -> IpNet {
    host(IpAddr::V4(service.address))
}

fn proto(protocol: Protocol) -> Proto {
    match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
    }
}

fn chain_name(service: &ServicePort) -> String {
    let protocol = match service.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let [_, _, high, low] = service.address.octets();
    format!("{protocol}_{high}_{low}_{}", service.port)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn endpoints_are_equally_likely_and_empty_services_are_left_to_refusal() {
        let endpoint = |low: u8| std::net::SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, low), 9080);
        let service = |low: u8, endpoints: &[u8]| ServicePort {
            address: Ipv4Addr::new(10, 96, 0, low),
            port: 80,
            protocol: Protocol::Tcp,
            endpoints: endpoints.iter().copied().map(endpoint).collect(),
        };
        let text = table(&[service(5, &[3, 2, 4]), service(6, &[])], 4000).to_text();
        let balance = "\tchain TCP_0_5_80 {\n\
            \t\tmeta l4proto tcp numgen random mod 3 0 dnat ip to 10.244.0.2:9080\n\
            \t\tmeta l4proto tcp numgen random mod 2 0 dnat ip to 10.244.0.3:9080\n\
            \t\tmeta l4proto tcp dnat ip to 10.244.0.4:9080\n";
        assert!(text.contains(balance), "{text}");
        assert!(!text.contains("10.96.0.6"), "{text}");
        assert!(
            text.contains("ip saddr 10.244.0.3 ip daddr 10.244.0.3 masquerade"),
            "{text}"
        );
    }
}
