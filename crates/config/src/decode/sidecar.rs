//! Reads a Sidecar.

use std::net::{IpAddr, SocketAddr};

use super::reader::{Fields, Node};
use super::scope::{SelectorKey, scoped_host, selector};
use super::traffic_policy::connection_pool;
use crate::protocol::Protocol;
use crate::sidecar::{
    CaptureMode, EgressBind, EgressHost, EgressListener, IngressEndpoint, IngressListener,
    OutboundMode, Sidecar, SidecarPort,
};

pub(super) fn read(spec: &Node<'_>) -> Option<Sidecar> {
    let parts = [
        "ingress",
        "egress",
        "outboundTrafficPolicy",
        "inboundConnectionPool",
    ];
    let fields = spec.open(
        &[
            "workloadSelector",
            "ingress",
            "egress",
            "outboundTrafficPolicy",
            "inboundConnectionPool",
        ],
        &[],
    )?;
    if fields.present(&parts).is_empty() {
        fields.error::<()>("says nothing", format!("set one of {}", parts.join(", ")));
    }
    Some(Sidecar {
        workload_selector: selector(&fields, "workloadSelector", SelectorKey::Labels),
        ingress: fields.items("ingress").iter().filter_map(ingress).collect(),
        egress: fields.items("egress").iter().filter_map(egress).collect(),
        outbound_traffic_policy: fields
            .get("outboundTrafficPolicy")
            .and_then(|n| outbound_policy(&n)),
        inbound_connection_pool: fields
            .get("inboundConnectionPool")
            .and_then(|n| connection_pool(&n)),
    })
}

/// The modes of an `OutboundTrafficPolicy`.
pub(super) const OUTBOUND_MODES: [(&str, OutboundMode); 2] = [
    ("REGISTRY_ONLY", OutboundMode::RegistryOnly),
    ("ALLOW_ANY", OutboundMode::AllowAny),
];

fn outbound_policy(node: &Node<'_>) -> Option<OutboundMode> {
    let refused = &[(
        "egressProxy",
        "route to the egress gateway with a VirtualService",
    )];
    let fields = node.open(&["mode"], refused)?;
    match fields.get("mode") {
        Some(node) => node.choice(&OUTBOUND_MODES, &[]),
        // protobuf's zero value, as in Istio.
        None => Some(OutboundMode::RegistryOnly),
    }
}

fn sidecar_port(node: &Node<'_>) -> Option<SidecarPort> {
    let refused = &[("targetPort", "it has no effect in Istio either: remove it")];
    let fields = node.open(&["number", "protocol", "name"], refused)?;
    let protocol: Protocol = fields.parse("protocol").unwrap_or_default();
    if protocol == Protocol::Udp {
        fields.error_at::<()>("protocol", "UDP is not proxied", "use a protocol over TCP");
    }
    let number = fields
        .required("number", "name the port's number")?
        .port()?;
    let name = fields.text("name").unwrap_or_default();
    Some(SidecarPort {
        number,
        protocol,
        name,
    })
}

fn capture_mode(fields: &Fields<'_>) -> CaptureMode {
    let words = [
        ("DEFAULT", CaptureMode::Default),
        ("IPTABLES", CaptureMode::Iptables),
        ("NONE", CaptureMode::None),
    ];
    fields
        .choice("captureMode", &words, &[])
        .unwrap_or_default()
}

fn ingress(node: &Node<'_>) -> Option<IngressListener> {
    let fields = node.open(
        &[
            "port",
            "bind",
            "captureMode",
            "defaultEndpoint",
            "connectionPool",
        ],
        &[("tls", "terminate TLS in the application, or use a Gateway")],
    )?;
    let port = fields
        .required("port", "name number, protocol and name")
        .and_then(|n| sidecar_port(&n));
    let bind = fields
        .text("bind")
        .and_then(|text| match text.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => fields.error_at(
                "bind",
                format!("{text:?} is not an IP address"),
                "remove it to bind to the pod's",
            ),
        });
    let endpoint = match fields.text("defaultEndpoint") {
        None => Some(IngressEndpoint::SamePort),
        Some(text) => default_endpoint(&fields, &text),
    };
    Some(IngressListener {
        bind,
        capture_mode: capture_mode(&fields),
        connection_pool: fields
            .get("connectionPool")
            .and_then(|n| connection_pool(&n)),
        default_endpoint: endpoint?,
        port: port?,
    })
}

fn default_endpoint(fields: &Fields<'_>, text: &str) -> Option<IngressEndpoint> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Some(IngressEndpoint::Unix(path.to_owned()));
    }
    let remedy = "write 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///path";
    // ":PORT" is the loopback address, as in Istio.
    let full = if text.starts_with(':') {
        format!("127.0.0.1{text}")
    } else {
        text.to_owned()
    };
    let Ok(address) = full.parse::<SocketAddr>() else {
        return fields.error_at(
            "defaultEndpoint",
            format!("{text:?} is not an endpoint"),
            remedy,
        );
    };
    let Some(port) = crate::PortNumber::new(address.port()) else {
        return fields.error_at("defaultEndpoint", "port 0 is not an endpoint", remedy);
    };
    if address.ip().is_unspecified() {
        return Some(IngressEndpoint::PodAddress(port));
    }
    if ["127.0.0.1", "::1"].contains(&address.ip().to_string().as_str()) {
        return Some(IngressEndpoint::Loopback(address));
    }
    fields.error_at(
        "defaultEndpoint",
        format!("{} is not an address of the pod", address.ip()),
        remedy,
    )
}

fn egress(node: &Node<'_>) -> Option<EgressListener> {
    let fields = node.open(&["port", "bind", "captureMode", "hosts"], &[])?;
    let nodes = fields.items("hosts");
    if nodes.is_empty() {
        fields.error_at::<()>(
            "hosts",
            "required, but missing",
            "name at least one, for example \"./*\"",
        );
    }
    let host = |node: &Node<'_>| {
        let (namespace, host) = scoped_host(node, None)?;
        Some(EgressHost { namespace, host })
    };
    let port = fields.get("port");
    let read = port.as_ref().and_then(sidecar_port);
    let bind = fields
        .text("bind")
        .and_then(|text| match text.strip_prefix("unix://") {
            Some(path) => Some(EgressBind::Unix(path.to_owned())),
            None => match text.parse() {
                Ok(address) => Some(EgressBind::Ip(address)),
                Err(_) => fields.error_at(
                    "bind",
                    format!("{text:?} is not an IP address"),
                    "or write unix:///path",
                ),
            },
        });
    let capture_mode = capture_mode(&fields);
    if port.is_none() && (bind.is_some() || capture_mode != CaptureMode::Default) {
        fields.error::<()>(
            "bind and captureMode need a port",
            "add port, or remove them",
        );
    }
    if matches!(bind, Some(EgressBind::Unix(_))) {
        fields.error_at::<()>(
            "bind",
            "unix domain sockets are not implemented yet",
            "use an IP address",
        );
    }
    Some(EgressListener {
        port: read,
        bind,
        capture_mode,
        hosts: nodes.iter().filter_map(host).collect(),
    })
}
