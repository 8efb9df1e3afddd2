//! Every name that two resources, or two processes, must agree on.
//!
//! Source: Istio's proxy configuration; the ports of the mesh are in docs/ports.md.

/// Port to which outbound connections are redirected.
pub(crate) const OUTBOUND_PORT: u16 = 15001;
/// Port to which inbound connections are redirected.
pub(crate) const INBOUND_PORT: u16 = 15006;
/// Listener of redirected outbound connections.
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Listener of redirected inbound connections.
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";
/// Cluster: where the caller dialled.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// Cluster: nowhere.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Cluster: the application, at the port that was dialled.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Filter chain of outbound listeners for what no other chain takes.
pub(crate) const PASSTHROUGH_CHAIN: &str = "PassthroughFilterChain";
/// Source address of connections to the application: capture leaves it alone.
pub(crate) const INBOUND_SOURCE: &str = "127.0.0.6";
/// All IPv4 addresses.
pub(crate) const WILDCARD: &str = "0.0.0.0";
/// Secret: the workload's own certificate, from the proxy's own agent.
pub(crate) const WORKLOAD_SECRET: &str = "default";
/// Secret: the mesh's roots, from the proxy's own agent.
pub(crate) const ROOT_SECRET: &str = "ROOTCA";
/// Virtual host of outbound routes for unknown hosts that are let through.
pub(crate) const ALLOW_ANY: &str = "allow_any";
/// Virtual host of outbound routes for unknown hosts that are refused.
pub(crate) const BLOCK_ALL: &str = "block_all";
/// Terminal HTTP filter.
pub(crate) const ROUTER: &str = "envoy.filters.http.router";
/// Fault injection.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// Cross-origin resource sharing.
pub(crate) const CORS: &str = "envoy.filters.http.cors";
/// Authorization of requests.
pub(crate) const HTTP_RBAC: &str = "envoy.filters.http.rbac";
/// Authorization of connections.
pub(crate) const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
/// HTTP connection manager.
pub(crate) const HCM: &str = "envoy.filters.network.http_connection_manager";
/// Forwarding of bytes.
pub(crate) const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";
/// TLS transport socket.
pub(crate) const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
/// Plain transport socket.
pub(crate) const RAW_SOCKET: &str = "envoy.transport_sockets.raw_buffer";

/// `outbound|PORT|SUBSET|HOST`.
pub(crate) fn outbound_cluster(host: &str, subset: &str, port: u16) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// `inbound|PORT||`, where PORT is the workload's.
pub(crate) fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

/// The SNI by which mesh clients ask for a cluster: `outbound_.PORT_.SUBSET_.HOST`.
pub(crate) fn mesh_sni(host: &str, subset: &str, port: u16) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// `ADDRESS_PORT`.
pub(crate) fn listener(address: &str, port: u16) -> String {
    format!("{address}_{port}")
}

/// The parts of `outbound|PORT|SUBSET|HOST`: port, subset, host.
pub(crate) fn parse_outbound(cluster: &str) -> Option<(u16, &str, &str)> {
    let mut parts = cluster.splitn(4, '|');
    if parts.next() != Some("outbound") {
        return None;
    }
    let port = parts.next()?.parse().ok()?;
    Some((port, parts.next()?, parts.next()?))
}

/// A prefix of statistics; Envoy separates parts by dots, so the name ends in a delimiter that no
/// host has.
pub(crate) fn stat_prefix(name: &str) -> String {
    format!("{name};")
}
