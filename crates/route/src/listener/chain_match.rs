//! What a filter chain matches, and the choice among chains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::view::ConnInfo;

/// A compiled filter chain match; empty lists and `None` match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ChainMatch {
    pub(crate) destination_port: Option<u16>,
    pub(crate) destinations: Vec<IpNet>,
    pub(crate) server_names: Vec<ServerName>,
    pub(crate) transport: Option<Transport>,
    pub(crate) application_protocols: Vec<Arc<str>>,
    pub(crate) direct_sources: Vec<IpNet>,
    pub(crate) source_type: SourceType,
    pub(crate) sources: Vec<IpNet>,
    pub(crate) source_ports: Vec<u16>,
}

/// A server name, lowercase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ServerName {
    Exact(Box<str>),
    /// Of `*.example.com`, the part with the dot.
    Suffix(Box<str>),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    Tls,
    RawBuffer,
}

/// Where the peer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

/// The criteria in Envoy's order. Each gives a chain's specificity for a connection: higher is
/// better, zero means "anything", `None` excludes it.
const CRITERIA: &[(&str, Criterion)] = &[
    ("destination port", |chain, connection| {
        equal(
            chain.destination_port.as_ref(),
            &connection.destination.port(),
        )
    }),
    ("destination prefix", |chain, connection| {
        longest(&chain.destinations, connection.destination.ip())
    }),
    ("server name", |chain, connection| {
        chain.server_name(connection.server_name)
    }),
    ("transport protocol", |chain, connection| {
        let transport = if connection.tls {
            Transport::Tls
        } else {
            Transport::RawBuffer
        };
        equal(chain.transport.as_ref(), &transport)
    }),
    ("application protocol", |chain, connection| {
        chain.application_protocol(connection.application_protocols)
    }),
    ("direct source prefix", |chain, connection| {
        longest(&chain.direct_sources, connection.source.ip())
    }),
    ("source type", |chain, connection| {
        chain.source_type(connection)
    }),
    ("source prefix", |chain, connection| {
        longest(&chain.sources, connection.source.ip())
    }),
    ("source port", |chain, connection| {
        chain.source_port(connection.source)
    }),
];

type Criterion = fn(&ChainMatch, &ConnInfo<'_>) -> Option<usize>;

/// Position of the best chain.
pub(crate) fn best(matches: &[ChainMatch], connection: &ConnInfo<'_>) -> Option<usize> {
    narrow(matches, connection, |_, _| {})
}

/// As [`best`], telling what is left after each criterion.
pub(crate) fn narrow(
    matches: &[ChainMatch],
    connection: &ConnInfo<'_>,
    mut tell: impl FnMut(&str, &[usize]),
) -> Option<usize> {
    let mut left: SmallVec<[usize; 32]> = (0..matches.len()).collect();
    for (name, criterion) in CRITERIA {
        let mut top = None;
        for at in &left {
            top = top.max(criterion(&matches[*at], connection));
        }
        let top = top?;
        left.retain(|at| criterion(&matches[*at], connection) == Some(top));
        tell(name, &left);
    }
    left.first().copied()
}

/// The chains that are left once the destination port is known.
pub(crate) fn for_port(matches: &[ChainMatch], port: u16) -> impl Iterator<Item = &ChainMatch> {
    let exact = matches
        .iter()
        .any(|chain| chain.destination_port == Some(port));
    matches
        .iter()
        .filter(move |chain| chain.destination_port == exact.then_some(port))
}

fn equal<T: PartialEq>(wanted: Option<&T>, actual: &T) -> Option<usize> {
    match wanted {
        None => Some(0),
        Some(wanted) if wanted == actual => Some(1),
        Some(_) => None,
    }
}

fn longest(nets: &[IpNet], address: IpAddr) -> Option<usize> {
    if nets.is_empty() {
        return Some(0);
    }
    let address = address.to_canonical();
    nets.iter()
        .filter(|net| net.contains(&address))
        .map(|net| usize::from(net.prefix_len()))
        .max()
}

impl ChainMatch {
    fn server_name(&self, name: Option<&str>) -> Option<usize> {
        if self.server_names.is_empty() {
            return Some(0);
        }
        let name = name?;
        self.server_names
            .iter()
            .filter_map(|wanted| wanted.specificity(name))
            .max()
    }

    /// The client's order of preference counts.
    fn application_protocol(&self, offered: &[&[u8]]) -> Option<usize> {
        if self.application_protocols.is_empty() {
            return Some(0);
        }
        let wanted = |protocol: &&[u8]| {
            self.application_protocols
                .iter()
                .any(|own| own.as_bytes() == *protocol)
        };
        offered.iter().position(wanted).map(|at| offered.len() - at)
    }

    fn source_type(&self, connection: &ConnInfo<'_>) -> Option<usize> {
        let source = connection.source.ip().to_canonical();
        let local = source.is_loopback() || source == connection.destination.ip().to_canonical();
        match self.source_type {
            SourceType::Any => Some(0),
            SourceType::SameIpOrLoopback => local.then_some(1),
            SourceType::External => (!local).then_some(1),
        }
    }

    fn source_port(&self, source: SocketAddr) -> Option<usize> {
        if self.source_ports.is_empty() {
            return Some(0);
        }
        self.source_ports.contains(&source.port()).then_some(1)
    }

    /// It can't be decided without knowing whether there is a ClientHello and what is in it.
    pub(crate) fn asks_for_tls(&self) -> bool {
        self.transport.is_some()
            || !self.server_names.is_empty()
            || !self.application_protocols.is_empty()
    }

    /// It can't be decided without knowing whether this is HTTP.
    pub(crate) fn asks_for_http(&self) -> bool {
        self.transport != Some(Transport::Tls)
            && self
                .application_protocols
                .iter()
                .any(|protocol| matches!(&**protocol, "http/1.0" | "http/1.1" | "h2c" | "h2"))
    }
}

impl ServerName {
    /// Exact beats every wildcard, a longer wildcard a shorter one.
    fn specificity(&self, name: &str) -> Option<usize> {
        match self {
            Self::Exact(want) => name.eq_ignore_ascii_case(want).then_some(usize::MAX),
            Self::Suffix(suffix) => {
                let start = name
                    .len()
                    .checked_sub(suffix.len())
                    .filter(|start| *start > 0)?;
                name.as_bytes()[start..]
                    .eq_ignore_ascii_case(suffix.as_bytes())
                    .then_some(suffix.len())
            }
        }
    }
}
