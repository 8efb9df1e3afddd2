//! Istio's capture rules (`istio-iptables`) as an nf_tables table, chain by chain under Istio's names.
//!
//! One addition: packets marked 1337 are the proxy's own, as those of its user id are. Where the application
//! and the proxy must run as the same user (in a user namespace with one id) the mark is all that tells
//! them apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use mesh_sys::nft::{Chain, Family, Hook, Kind, Match, Op, Proto, Rule, Table, Verdict, host};

use super::INBOUND_SOURCE_V6;
use super::settings::{Mode, Selection, Settings};

/// Name of the table, in the pod's network namespace.
pub(super) const TABLE: &str = "mesh_capture";

/// Mark of the proxy's own packets.
const PROXY_MARK: u32 = 1337;
/// Source of inbound connections to the application: the proxy's InboundPassthrough bind address.
const INBOUND_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// Where iptables' nat table hangs in these hooks (`NF_IP_PRI_NAT_DST`).
const PRIORITY: i32 = -100;

const IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
const REDIRECT: &str = "ISTIO_REDIRECT";
const INBOUND: &str = "ISTIO_INBOUND";
const OUTPUT: &str = "ISTIO_OUTPUT";

/// The whole table. In mode [`Mode::None`] it has no chains.
pub(super) fn table(settings: &Settings) -> Table {
    let family = if settings.ipv6 {
        Family::Inet
    } else {
        Family::Ip
    };
    let rules = Rules { settings };
    let chains = match settings.mode {
        Mode::None => vec![],
        Mode::Redirect => vec![
            Chain::base(
                "PREROUTING",
                Kind::Nat,
                Hook::Prerouting,
                PRIORITY,
                rules.prerouting(),
            ),
            Chain::base("OUTPUT", Kind::Nat, Hook::Output, PRIORITY, rules.output()),
            Chain::regular(INBOUND, rules.inbound()),
            Chain::regular(OUTPUT, rules.istio_output()),
            Chain::regular(IN_REDIRECT, vec![redirect(settings.inbound_port)]),
            Chain::regular(REDIRECT, vec![redirect(settings.outbound_port)]),
        ],
    };
    Table {
        family,
        name: TABLE.to_owned(),
        chains,
    }
}

fn redirect(port: u16) -> Rule {
    Rule::new([tcp()], Verdict::Redirect(port))
}

fn tcp() -> Match {
    Match::Protocol(Op::Is, Proto::Tcp)
}

fn tcp_port(port: u16) -> Match {
    Match::DestinationPort(Op::Is, Proto::Tcp, port)
}

fn jump(chain: &str) -> Verdict {
    Verdict::Jump(chain.to_owned())
}

fn leaves_by_loopback() -> Match {
    Match::OutInterface(Op::Is, "lo".to_owned())
}

/// How the proxy's own packets are told.
#[derive(Clone, Copy)]
enum Owner {
    Mark,
    User(u32),
    Group(u32),
}

impl Owner {
    fn matches(self, op: Op) -> Match {
        match self {
            Owner::Mark => Match::Mark(op, PROXY_MARK),
            Owner::User(id) => Match::UserId(op, id),
            Owner::Group(id) => Match::GroupId(op, id),
        }
    }
}

struct Rules<'a> {
    settings: &'a Settings,
}

impl Rules<'_> {
    /// What comes in, and what virtual machines behind an interface of the pod send out.
    fn prerouting(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let from = |name: &String| Match::InInterface(Op::Is, name.clone());
        for name in &self.settings.virtual_interfaces {
            match &self.settings.include_ranges {
                Selection::All => rules.push(Rule::new([from(name)], jump(REDIRECT))),
                Selection::Only(ranges) => rules.extend(self.usable(ranges).map(|range| {
                    Rule::new(
                        [from(name), Match::Destination(Op::Is, range)],
                        jump(REDIRECT),
                    )
                })),
            }
            rules.push(Rule::new([from(name)], Verdict::Return));
        }
        for name in &self.settings.exclude_interfaces {
            rules.push(Rule::new([from(name)], Verdict::Return));
        }
        rules.push(Rule::new([tcp()], jump(INBOUND)));
        rules
    }

    fn output(&self) -> Vec<Rule> {
        let to = |name: &String| Match::OutInterface(Op::Is, name.clone());
        let excluded = self.settings.exclude_interfaces.iter();
        let mut rules: Vec<Rule> = excluded
            .map(|name| Rule::new([to(name)], Verdict::Return))
            .collect();
        rules.push(Rule::new([], jump(OUTPUT)));
        rules
    }

    fn inbound(&self) -> Vec<Rule> {
        let mut rules = vec![Rule::new(
            [tcp_port(self.settings.tunnel_port)],
            Verdict::Return,
        )];
        match &self.settings.include_inbound_ports {
            Selection::All => {
                let excluded = self.settings.exclude_inbound_ports.iter();
                rules.extend(excluded.map(|port| Rule::new([tcp_port(*port)], Verdict::Return)));
                rules.push(Rule::new([tcp()], jump(IN_REDIRECT)));
            }
            Selection::Only(ports) => {
                rules.extend(
                    ports
                        .iter()
                        .map(|port| Rule::new([tcp_port(*port)], jump(IN_REDIRECT))),
                );
            }
        }
        rules
    }

    fn istio_output(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for port in &self.settings.exclude_outbound_ports {
            for proto in [Proto::Tcp, Proto::Udp] {
                rules.push(Rule::new(
                    [Match::DestinationPort(Op::Is, proto, *port)],
                    Verdict::Return,
                ));
            }
        }
        for source in self.both(INBOUND_SOURCE_V4, INBOUND_SOURCE_V6) {
            rules.push(Rule::new(
                [leaves_by_loopback(), Match::Source(Op::Is, source)],
                Verdict::Return,
            ));
        }
        rules.extend(self.own_traffic());
        for loopback in self.both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST) {
            rules.push(Rule::new(
                [Match::Destination(Op::Is, loopback)],
                Verdict::Return,
            ));
        }
        for range in self.usable(&self.settings.exclude_ranges) {
            rules.push(Rule::new(
                [Match::Destination(Op::Is, range)],
                Verdict::Return,
            ));
        }
        rules.extend(self.included());
        rules
    }

    /// The proxy's own connections pass, except those to the pod itself by another address than loopback
    /// (the application called a service that it is an endpoint of): they are inbound traffic. What the
    /// application sends to itself passes as well.
    fn own_traffic(&self) -> Vec<Rule> {
        let users = self.settings.proxy_uids.iter().copied().map(Owner::User);
        let groups = self.settings.proxy_gids.iter().copied().map(Owner::Group);
        let mut rules = Vec::new();
        for owner in std::iter::once(Owner::Mark).chain(users).chain(groups) {
            for loopback in self.both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST) {
                let to_itself = [
                    leaves_by_loopback(),
                    Match::Destination(Op::IsNot, loopback),
                    Match::DestinationPort(Op::IsNot, Proto::Tcp, self.settings.tunnel_port),
                    owner.matches(Op::Is),
                ];
                rules.push(Rule::new(to_itself, jump(IN_REDIRECT)));
            }
            // Marked packets are dealt with when this is reached; unmarked ones say nothing about their owner.
            if !matches!(owner, Owner::Mark) && !self.captures_loopback() {
                let others = [leaves_by_loopback(), owner.matches(Op::IsNot)];
                rules.push(Rule::new(others, Verdict::Return));
            }
            rules.push(Rule::new([owner.matches(Op::Is)], Verdict::Return));
        }
        rules
    }

    fn included(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        match &self.settings.include_outbound_ports {
            Selection::All => rules.push(Rule::new([tcp()], jump(REDIRECT))),
            Selection::Only(ports) => {
                rules.extend(
                    ports
                        .iter()
                        .map(|port| Rule::new([tcp_port(*port)], jump(REDIRECT))),
                );
            }
        }
        match &self.settings.include_ranges {
            Selection::All => rules.push(Rule::new([], jump(REDIRECT))),
            Selection::Only(ranges) => {
                let to = |range| Rule::new([Match::Destination(Op::Is, range)], jump(REDIRECT));
                rules.extend(self.usable(ranges).map(to));
            }
        }
        rules
    }

    /// Whether loopback addresses were asked for explicitly.
    fn captures_loopback(&self) -> bool {
        match &self.settings.include_ranges {
            Selection::All => false,
            Selection::Only(ranges) => ranges.iter().any(|range| range.addr().is_loopback()),
        }
    }

    /// An IPv4 address and, if the table sees IPv6, its IPv6 counterpart.
    fn both(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> impl Iterator<Item = IpNet> + use<> {
        let v6 = self.settings.ipv6.then(|| host(IpAddr::V6(v6)));
        std::iter::once(host(IpAddr::V4(v4))).chain(v6)
    }

    /// Those ranges that the table can match: a table for IPv4 knows no IPv6.
    fn usable<'a>(&self, ranges: &'a [IpNet]) -> impl Iterator<Item = IpNet> + use<'a> {
        let ipv6 = self.settings.ipv6;
        ranges
            .iter()
            .copied()
            .filter(move |range| ipv6 || range.addr().is_ipv4())
    }
}
