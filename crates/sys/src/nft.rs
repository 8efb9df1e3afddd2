//! nf_tables: a small rule model, its text, its netlink encoding.
//!
//! A [`Table`] is a value; [`Table::to_text`] prints it for `nft -f` (people, tests), [`apply`] puts it
//! into the kernel in one transaction that replaces the table of the same name, so there is never a moment
//! without rules. Tracked connections are kept: NAT looks at the rules only for a connection's first packet.

mod apply;
mod encode;
mod read;
mod text;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use apply::{ApplyError, apply, delete};
pub use read::{ChainSummary, read_back};

/// Address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6 in one table.
    Inet,
    /// IPv4 only.
    Ip,
    /// IPv6 only.
    Ip6,
}

/// A table: the unit of replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Name, unique per family.
    pub name: String,
    /// Chains; those that are jumped to may stand anywhere.
    pub chains: Vec<Chain>,
}

/// A chain of rules, called by the kernel (base chain) or jumped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name, unique in the table.
    pub name: String,
    /// Where the kernel calls it; `None`: only by jump.
    pub base: Option<Base>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs. Policy is always accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What its rules may do.
    pub kind: Kind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Order among base chains of one hook, low first (-100 is dstnat, 0 filter, 100 srcnat).
    pub priority: i32,
}

/// Type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of each connection and may rewrite its addresses.
    Nat,
}

/// Point of a packet's way through the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// Matches, all of which must hold, and what then happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Tested in order.
    pub matches: Vec<Match>,
    /// Count packets and bytes that got here.
    pub counter: bool,
    /// `None`: go on with the next rule.
    pub verdict: Option<Verdict>,
}

/// How a match compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal, or inside the prefix.
    Is,
    /// Not equal, or outside the prefix.
    IsNot,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Proto {
    Tcp,
    Udp,
}

/// One test of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Name of the interface it came in by; a trailing `*` matches a prefix.
    InInterface(Op, String),
    /// Name of the interface it leaves by; a trailing `*` matches a prefix.
    OutInterface(Op, String),
    /// Transport protocol.
    Protocol(Op, Proto),
    /// User id of the sending socket (output only).
    UserId(Op, u32),
    /// Group id of the sending socket (output only).
    GroupId(Op, u32),
    /// `SO_MARK` of the sending socket, or what a rule set.
    Mark(Op, u32),
    /// IPv4 packets only (in [`Family::Inet`], when no address is matched).
    Ipv4Only,
    /// IPv6 packets only.
    Ipv6Only,
    /// Source address; implies the address's IP version.
    Source(Op, IpNet),
    /// Destination address; implies the address's IP version.
    Destination(Op, IpNet),
    /// Source port.
    SourcePort(Op, Proto, u16),
    /// Destination port.
    DestinationPort(Op, Proto, u16),
    /// Destination is (or isn't) an address of this namespace (`fib daddr type local`).
    DestinationIsLocal(Op),
    /// Connection tracking state is one of established, related.
    Established,
    /// True for one packet in N, at random (`numgen random mod N 0`); N is at least 1.
    OneIn(u32),
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass this hook's chain.
    Accept,
    /// Discard it silently.
    Drop,
    /// Leave this chain.
    Return,
    /// Go to a chain and come back at its end.
    Jump(String),
    /// Go to a chain and do not come back.
    Goto(String),
    /// Send it to this port of this host (NAT).
    Redirect(u16),
    /// Send it to this address and port (NAT).
    DestinationNat(SocketAddr),
    /// Rewrite its source to the address of the outgoing interface (NAT).
    Masquerade,
    /// Refuse with ICMP port unreachable: a connect fails at once with `ECONNREFUSED`.
    RejectPortUnreachable,
    /// Refuse with a TCP reset.
    RejectTcpReset,
}

impl Rule {
    /// A rule that does `verdict` when all of `matches` hold.
    pub fn new(matches: impl IntoIterator<Item = Match>, verdict: Verdict) -> Rule {
        Rule {
            matches: matches.into_iter().collect(),
            counter: false,
            verdict: Some(verdict),
        }
    }
}

impl Chain {
    /// A chain that is jumped to.
    pub fn regular(name: &str, rules: Vec<Rule>) -> Chain {
        Chain {
            name: name.to_owned(),
            base: None,
            rules,
        }
    }

    /// A chain that the kernel calls.
    pub fn base(name: &str, kind: Kind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
        Chain {
            name: name.to_owned(),
            base: Some(Base {
                kind,
                hook,
                priority,
            }),
            rules,
        }
    }
}

impl Table {
    /// The table as text for `nft -f`: declares, empties and fills it, as [`apply`] does.
    pub fn to_text(&self) -> String {
        text::table(self)
    }
}

/// The address as a prefix that contains only it.
pub fn host(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}

#[cfg(test)]
mod tests;
