//! Filter chains of outbound listeners: what a service's port asks for, with the TCP and TLS routes of
//! VirtualServices.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_config::virtual_service::{ConnectionMatch, GatewayRef};

use super::tcp;
use crate::model::{Service, ServicePort};
use crate::snapshot::{Egress, RouteRule, covers};
use crate::translate::{audience::View, wire::*};

/// A filter chain before it is written out.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// SNI values; `*` among them, or none, takes any.
    pub(super) sni: Vec<String>,
    /// Destination ranges; none takes any.
    pub(super) ranges: Vec<IpNet>,
    /// Whether it takes what was detected as plain HTTP only.
    pub(super) detected_http: bool,
    /// What it does.
    pub(super) content: Content,
}

/// What a filter chain does.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Routes requests by this route configuration.
    Http(String),
    /// Forwards bytes.
    Tcp(Vec<listener::Filter>),
}

impl Chain {
    /// An HTTP chain.
    pub(super) fn http(route: String) -> Self {
        Self {
            sni: Vec::new(),
            ranges: Vec::new(),
            detected_http: true,
            content: Content::Http(route),
        }
    }

    fn tcp(ranges: Vec<IpNet>, filters: Vec<listener::Filter>) -> Self {
        Self {
            sni: Vec::new(),
            ranges,
            detected_http: false,
            content: Content::Tcp(filters),
        }
    }

    /// Whether it takes every connection.
    pub(super) fn matches_all(&self) -> bool {
        let any_sni = self.sni.is_empty() || self.sni.iter().any(|host| host == "*");
        any_sni && self.ranges.is_empty() && !self.detected_http
    }

    /// Whether Envoy would refuse both in one listener.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        let sni = |chain: &Self| -> BTreeSet<String> {
            chain
                .sni
                .iter()
                .filter(|host| *host != "*")
                .cloned()
                .collect()
        };
        let ranges = |chain: &Self| -> BTreeSet<String> {
            chain
                .ranges
                .iter()
                .map(|net| net.trunc().to_string())
                .collect()
        };
        self.detected_http == other.detected_http
            && sni(self) == sni(other)
            && ranges(self) == ranges(other)
    }
}

/// The chains that forward bytes to a service. `ranges`: its address ranges, where the listener does
/// not stand for its address. `shared`: the listener takes other services too, so that SNI must tell.
pub(super) fn of_service(
    cx: &View<'_>,
    egress: &Egress,
    service: &Service,
    port: &ServicePort,
    ranges: &[IpNet],
    shared: bool,
) -> Vec<Chain> {
    let host = service.hostname.parse();
    let rules: Vec<&Arc<RouteRule>> = egress
        .rules
        .iter()
        .filter(|rule| {
            let covered = |own| covers(own, &service.hostname);
            rule.hosts.iter().any(covered) || host.as_ref().is_ok_and(|host| rule.covers(host))
        })
        .collect();
    if port.protocol.is_tls() {
        of_tls(cx, &rules, service, port, ranges, shared)
    } else {
        of_tcp(cx, &rules, service, port, ranges)
    }
}

/// Whether a condition can hold for this sidecar and port.
fn applies(cx: &View<'_>, condition: &ConnectionMatch, port: u16) -> bool {
    let gateways = &condition.gateways;
    (gateways.is_empty() || gateways.contains(&GatewayRef::Mesh))
        && condition.port.is_none_or(|own| own.get() == port)
        && condition.source.matches(cx.caller_labels(), cx.namespace())
}

fn of_tls(
    cx: &View<'_>,
    rules: &[&Arc<RouteRule>],
    service: &Service,
    port: &ServicePort,
    ranges: &[IpNet],
    shared: bool,
) -> Vec<Chain> {
    let mut out: Vec<Chain> = Vec::new();
    for rule in rules {
        for tls in &rule.object.spec.tls {
            for condition in &tls.matches {
                if !applies(cx, &condition.connection, port.number) {
                    continue;
                }
                let own = &condition.connection.destination_subnets;
                let chain = Chain {
                    sni: condition
                        .sni_hosts
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    ranges: if own.is_empty() { ranges } else { own }.to_vec(),
                    detected_http: false,
                    content: Content::Tcp(tcp::to_destinations(
                        cx,
                        rule,
                        &tls.destinations,
                        port.number,
                    )),
                };
                // The first of equal conditions is the only one that is ever reached.
                if !out.iter().any(|known| known.conflicts_with(&chain)) {
                    out.push(chain);
                }
            }
        }
    }
    if out.is_empty() {
        let by_name = shared || !ranges.is_empty();
        out.push(Chain {
            sni: if by_name {
                vec![service.hostname.to_string()]
            } else {
                Vec::new()
            },
            ..Chain::tcp(ranges.to_vec(), tcp::to_service(cx, service, port.number))
        });
    }
    out
}

fn of_tcp(
    cx: &View<'_>,
    rules: &[&Arc<RouteRule>],
    service: &Service,
    port: &ServicePort,
    ranges: &[IpNet],
) -> Vec<Chain> {
    let mut out: Vec<Chain> = Vec::new();
    for rule in rules {
        for route in &rule.object.spec.tcp {
            let filters = || tcp::to_destinations(cx, rule, &route.destinations, port.number);
            let matching: Vec<_> = route
                .matches
                .iter()
                .filter(|condition| applies(cx, condition, port.number))
                .collect();
            let anything = route.matches.is_empty()
                || matching.iter().any(|m| m.destination_subnets.is_empty());
            if anything {
                out.push(Chain::tcp(ranges.to_vec(), filters()));
                return out;
            }
            let subnets: Vec<IpNet> = matching
                .iter()
                .flat_map(|condition| condition.destination_subnets.clone())
                .collect();
            if !subnets.is_empty() {
                out.push(Chain::tcp(subnets, filters()));
            }
        }
    }
    let straight = Chain::tcp(ranges.to_vec(), tcp::to_service(cx, service, port.number));
    if !out.iter().any(|known| known.conflicts_with(&straight)) {
        out.push(straight);
    }
    out
}
