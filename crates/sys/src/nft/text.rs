//! Rules as text, in nft's own spelling.

use std::fmt::Write;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::{Chain, Family, Hook, Kind, Match, Op, Proto, Rule, Table, Verdict};

pub(super) fn table(table: &Table) -> String {
    let head = format!("table {} {}", family(table.family), table.name);
    // Declared first, so that deleting it cannot fail; all in one transaction.
    let mut out = format!("{head}\ndelete {head}\n{head} {{\n");
    for chain in &table.chains {
        push_chain(&mut out, table.family, chain);
    }
    out.push_str("}\n");
    out
}

pub(super) fn family(family: Family) -> &'static str {
    match family {
        Family::Inet => "inet",
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    }
}

/// One rule without its chain.
pub(super) fn rule(family: Family, rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(one_match).collect();
    if rule.counter {
        words.push("counter".to_owned());
    }
    words.extend(rule.verdict.as_ref().map(|one| verdict(family, one)));
    words.join(" ")
}

fn push_chain(out: &mut String, family: Family, chain: &Chain) {
    let _ = writeln!(out, "\tchain {} {{", chain.name);
    if let Some(base) = chain.base {
        let (kind, hook) = (kind(base.kind), hook(base.hook));
        // Priorities as numbers: nft 1.0.6 refuses the names in some hooks.
        let _ = writeln!(
            out,
            "\t\ttype {kind} hook {hook} priority {}; policy accept;",
            base.priority
        );
    }
    for each in &chain.rules {
        let _ = writeln!(out, "\t\t{}", rule(family, each));
    }
    out.push_str("\t}\n");
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Filter => "filter",
        Kind::Nat => "nat",
    }
}

fn hook(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
    }
}

fn one_match(one: &Match) -> String {
    match one {
        Match::InInterface(op, name) => format!("iifname{} \"{name}\"", sign(*op)),
        Match::OutInterface(op, name) => format!("oifname{} \"{name}\"", sign(*op)),
        Match::Protocol(op, proto) => format!("meta l4proto{} {}", sign(*op), protocol(*proto)),
        Match::UserId(op, id) => format!("meta skuid{} {id}", sign(*op)),
        Match::GroupId(op, id) => format!("meta skgid{} {id}", sign(*op)),
        Match::Mark(op, mark) => format!("meta mark{} {mark:#x}", sign(*op)),
        Match::Ipv4Only => "meta nfproto ipv4".to_owned(),
        Match::Ipv6Only => "meta nfproto ipv6".to_owned(),
        Match::Source(op, prefix) => address("saddr", *op, prefix),
        Match::Destination(op, prefix) => address("daddr", *op, prefix),
        Match::SourcePort(op, proto, port) => {
            format!("{} sport{} {port}", protocol(*proto), sign(*op))
        }
        Match::DestinationPort(op, proto, port) => {
            format!("{} dport{} {port}", protocol(*proto), sign(*op))
        }
        Match::DestinationIsLocal(op) => format!("fib daddr type{} local", sign(*op)),
        Match::Established => "ct state established,related".to_owned(),
        Match::OneIn(count) => format!("numgen random mod {count} 0"),
    }
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::Is => "",
        Op::IsNot => " !=",
    }
}

fn protocol(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    }
}

fn address(which: &str, op: Op, prefix: &IpNet) -> String {
    let family = if prefix.addr().is_ipv4() { "ip" } else { "ip6" };
    let sign = sign(op);
    if prefix.prefix_len() == prefix.max_prefix_len() {
        return format!("{family} {which}{sign} {}", prefix.addr());
    }
    format!("{family} {which}{sign} {}", prefix.trunc())
}

fn verdict(family: Family, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::DestinationNat(to @ SocketAddr::V4(_)) => format!("dnat ip to {to}"),
        Verdict::DestinationNat(to @ SocketAddr::V6(_)) => format!("dnat ip6 to {to}"),
        Verdict::Masquerade => "masquerade".to_owned(),
        Verdict::RejectPortUnreachable => {
            let icmp = match family {
                Family::Inet => "icmpx",
                Family::Ip => "icmp",
                Family::Ip6 => "icmpv6",
            };
            format!("reject with {icmp} port-unreachable")
        }
        Verdict::RejectTcpReset => "reject with tcp reset".to_owned(),
    }
}
