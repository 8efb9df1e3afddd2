//! Reads a VirtualService: hosts, gateways, TLS and TCP routes, destinations.

use super::http_route;
use super::reader::{Fields, Node};
use super::scope::{export_to, is_dns_label, labels};
use crate::host::HostPattern;
use crate::selector::LabelSelector;
use crate::virtual_service::{
    ConnectionMatch, Destination, GatewayRef, SourceMatch, TcpDestination, TcpRoute, TlsMatch,
    TlsRoute, VirtualService,
};

pub(super) fn read(spec: &Node<'_>) -> Option<VirtualService> {
    let fields = spec.open(
        &["hosts", "gateways", "http", "tls", "tcp", "exportTo"],
        &[],
    )?;
    if fields.items("hosts").is_empty() {
        fields.error_at::<()>(
            "hosts",
            "at least one host is required (delegate VirtualServices are not implemented yet)",
            "name the hosts",
        );
    }
    let hosts: Vec<HostPattern> = fields.parses("hosts");
    let mut gateways = gateway_refs(&fields);
    if gateways.is_empty() {
        gateways.push(GatewayRef::Mesh);
    }
    let http = fields
        .items("http")
        .iter()
        .filter_map(http_route::read)
        .collect();
    let tls = fields.items("tls").iter().filter_map(tls_route).collect();
    let tcp = fields.items("tcp").iter().filter_map(tcp_route).collect();
    if fields.present(&["http", "tls", "tcp"]).is_empty() {
        fields.error::<()>("no routes", "add http, tls or tcp");
    }
    Some(VirtualService {
        hosts,
        gateways,
        export_to: export_to(&fields, false),
        http,
        tls,
        tcp,
    })
}

/// The field `gateways`, names resolved to `namespace/name`.
pub(super) fn gateway_refs(fields: &Fields<'_>) -> Vec<GatewayRef> {
    fields
        .items("gateways")
        .iter()
        .filter_map(gateway_ref)
        .collect()
}

fn gateway_ref(node: &Node<'_>) -> Option<GatewayRef> {
    let text = node.text()?;
    if text == "mesh" {
        return Some(GatewayRef::Mesh);
    }
    let own = node.report.namespace.as_str();
    let (namespace, name) = match text.split_once('/') {
        Some((".", name)) => (own, name),
        Some(parts) => parts,
        // The old form, a service-like name: gateway.namespace.svc.cluster.local.
        None => match text.split_once('.') {
            Some((name, rest)) => (rest.split('.').next().unwrap_or(own), name),
            None => (own, text),
        },
    };
    if !is_dns_label(namespace) || name.is_empty() || name.contains('/') {
        return node.error(
            format!("{text:?} is not the name of a Gateway"),
            "write NAME, NAMESPACE/NAME or mesh",
        );
    }
    Some(GatewayRef::Gateway {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// `sourceLabels` and `sourceNamespace`.
pub(super) fn source_match(fields: &Fields<'_>) -> SourceMatch {
    let namespace = fields.text("sourceNamespace");
    if let Some(name) = namespace.as_deref().filter(|name| !is_dns_label(name)) {
        fields.error_at::<()>(
            "sourceNamespace",
            format!("{name:?} is not a namespace"),
            "",
        );
    }
    SourceMatch {
        labels: LabelSelector::new(labels(fields, "sourceLabels")),
        namespace,
    }
}

/// A `Destination`.
pub(super) fn destination(node: &Node<'_>) -> Option<Destination> {
    let fields = node.open(&["host", "subset", "port"], &[])?;
    let host = fields.required_text("host", "name the service");
    let host = host.and_then(|_| fields.parse("host"));
    let subset = fields.parse("subset");
    let port = fields.get("port").and_then(|node| port_selector(&node));
    Some(Destination {
        host: host?,
        subset,
        port,
    })
}

/// A `PortSelector`: `{number: 80}`.
pub(super) fn port_selector(node: &Node<'_>) -> Option<crate::PortNumber> {
    let refused = &[("name", "select the port by number")];
    node.open(&["number"], refused)?
        .required("number", "name the port's number")?
        .port()
}

/// The weights of a route: a single destination gets everything.
pub(super) fn weight(fields: &Fields<'_>, single: bool) -> u32 {
    let weight = fields.limit("weight").unwrap_or(0);
    if single && weight == 0 { 100 } else { weight }
}

fn tls_route(node: &Node<'_>) -> Option<TlsRoute> {
    let fields = node.open(&["match", "route"], &[])?;
    if fields.items("match").is_empty() {
        fields.error_at::<()>(
            "match",
            "required, but missing",
            "name the sniHosts of the connections",
        );
    }
    Some(TlsRoute {
        matches: fields.items("match").iter().filter_map(tls_match).collect(),
        destinations: tcp_destinations(&fields),
    })
}

fn tls_match(node: &Node<'_>) -> Option<TlsMatch> {
    let fields = node.open(
        &[
            "sniHosts",
            "destinationSubnets",
            "port",
            "sourceLabels",
            "sourceNamespace",
            "gateways",
        ],
        &[(
            "sourceSubnet",
            "match the caller by sourceLabels or sourceNamespace",
        )],
    )?;
    if fields.items("sniHosts").is_empty() {
        fields.error_at::<()>(
            "sniHosts",
            "required, but missing",
            "name the hosts of the server name indication",
        );
    }
    Some(TlsMatch {
        sni_hosts: fields.parses("sniHosts"),
        connection: connection(&fields),
    })
}

fn tcp_route(node: &Node<'_>) -> Option<TcpRoute> {
    let fields = node.open(&["match", "route"], &[])?;
    Some(TcpRoute {
        matches: fields.items("match").iter().filter_map(tcp_match).collect(),
        destinations: tcp_destinations(&fields),
    })
}

fn tcp_match(node: &Node<'_>) -> Option<ConnectionMatch> {
    let fields = node.open(
        &[
            "destinationSubnets",
            "port",
            "sourceLabels",
            "sourceNamespace",
            "gateways",
        ],
        &[(
            "sourceSubnet",
            "match the caller by sourceLabels or sourceNamespace",
        )],
    )?;
    Some(connection(&fields))
}

fn connection(fields: &Fields<'_>) -> ConnectionMatch {
    let subnets = fields.items("destinationSubnets");
    ConnectionMatch {
        destination_subnets: subnets.iter().filter_map(subnet).collect(),
        port: fields.port("port"),
        source: source_match(fields),
        gateways: gateway_refs(fields),
    }
}

/// An address or a range of addresses.
pub(super) fn subnet(node: &Node<'_>) -> Option<ipnet::IpNet> {
    let text = node.text()?;
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.into());
    }
    match text.parse() {
        Ok(net) => Some(net),
        Err(_) => node.error(
            format!("{text:?} is neither an IP address nor a range"),
            "write for example 10.1.2.3 or 10.0.0.0/8",
        ),
    }
}

fn tcp_destinations(fields: &Fields<'_>) -> Vec<TcpDestination> {
    let nodes = fields.items("route");
    if nodes.is_empty() {
        fields.error_at::<()>(
            "route",
            "required, but missing",
            "name at least one destination",
        );
    }
    let single = nodes.len() == 1;
    let read = |node: &Node<'_>| {
        let fields = node.open(&["destination", "weight"], &[])?;
        let weight = weight(&fields, single);
        let node = fields.required("destination", "name the service")?;
        Some(TcpDestination {
            destination: destination(&node)?,
            weight,
        })
    };
    nodes.iter().filter_map(read).collect()
}
