//! Reads a Gateway.

use super::reader::{Fields, Node};
use super::scope::{labels, scoped_host};
use super::server_tls;
use crate::gateway::{Gateway, NamespaceScope, Server, ServerHost, ServerPort};
use crate::protocol::Protocol;
use crate::selector::LabelSelector;
use crate::tls::ServerTls;

pub(super) fn read(spec: &Node<'_>) -> Option<Gateway> {
    let fields = spec.open(&["selector", "servers"], &[])?;
    let servers = fields.items("servers");
    if servers.is_empty() {
        fields.error_at::<()>(
            "servers",
            "required, but missing",
            "add at least one server",
        );
    }
    Some(Gateway {
        selector: LabelSelector::new(labels(&fields, "selector")),
        servers: servers.iter().filter_map(server).collect(),
    })
}

fn server(node: &Node<'_>) -> Option<Server> {
    let fields = node.open(
        &["name", "port", "bind", "hosts", "tls"],
        &[("defaultEndpoint", "route with a VirtualService")],
    )?;
    let hosts = fields.items("hosts");
    if hosts.is_empty() {
        fields.error_at::<()>(
            "hosts",
            "required, but missing",
            "name at least one host, for example \"*\"",
        );
    }
    let read_host = |node: &Node<'_>| {
        let (namespace, host) = scoped_host(node, Some(NamespaceScope::Any))?;
        Some(ServerHost { namespace, host })
    };
    let hosts = hosts.iter().filter_map(read_host).collect();
    let bind = bind(&fields);
    let port = fields
        .required("port", "name port number, protocol and name")
        .and_then(|n| port(&n));
    let tls = fields.get("tls").and_then(|node| server_tls::read(&node));
    let port = port?;
    let (tls, https_redirect) = match tls {
        Some(settings) => (
            terminated(&fields, &port, settings.tls),
            settings.https_redirect,
        ),
        None => (None, false),
    };
    if port.protocol.is_tls() && fields.get("tls").is_none() {
        let remedy = "add tls with a mode, for example SIMPLE with a credentialName";
        fields.error_at::<()>(
            "tls",
            format!("required for protocol {}", port.protocol),
            remedy,
        );
    }
    if https_redirect && !port.protocol.is_http() {
        let remedy = "set it on the plain HTTP server";
        fields.error_at::<()>(
            "tls.httpsRedirect",
            format!("has no effect with protocol {}", port.protocol),
            remedy,
        );
    }
    Some(Server {
        name: fields.text("name"),
        port,
        bind,
        hosts,
        tls,
        https_redirect,
    })
}

/// TLS settings are for TLS ports; a plain HTTP port may only redirect.
fn terminated(fields: &Fields<'_>, port: &ServerPort, tls: ServerTls) -> Option<ServerTls> {
    if port.protocol.is_tls() {
        return Some(tls);
    }
    if tls == ServerTls::Passthrough {
        return None;
    }
    fields.error_at(
        "tls.mode",
        format!("port protocol {} has no TLS", port.protocol),
        "use protocol HTTPS or TLS for the port, or remove tls",
    )
}

fn bind(fields: &Fields<'_>) -> Option<std::net::IpAddr> {
    let text = fields.text("bind")?;
    if text.starts_with("unix://") {
        return fields.error_at(
            "bind",
            "unix domain sockets are not implemented yet",
            "use an IP address",
        );
    }
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => fields.error_at(
            "bind",
            format!("{text:?} is not an IP address"),
            "remove it to bind to all",
        ),
    }
}

fn port(node: &Node<'_>) -> Option<ServerPort> {
    let refused = &[("targetPort", "it has no effect in Istio either: remove it")];
    let fields = node.open(&["number", "protocol", "name"], refused)?;
    let number = fields
        .required("number", "name the port's number")
        .and_then(|node| node.port());
    let protocol = fields.required_text("protocol", "name the protocol, for example HTTP");
    let protocol: Option<Protocol> = protocol.and_then(|_| fields.parse("protocol"));
    if protocol == Some(Protocol::Udp) {
        fields.error_at::<()>("protocol", "UDP is not proxied", "use a protocol over TCP");
    }
    let name = fields.required_text("name", "name the port, for example \"http\"");
    Some(ServerPort {
        number: number?,
        protocol: protocol?,
        name: name?,
    })
}
