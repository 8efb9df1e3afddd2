//! Where a Service is reached from the machine that runs the tests.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::kubectl::get;
use crate::deadline::eventually;

const REACHED_WITHIN: Duration = Duration::from_secs(60);
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);

/// An address of the Service's port that takes connections: its load balancer's, a node's port,
/// or its cluster IP where the tests run on a node.
///
/// # Errors
/// With the addresses tried, when none does within a minute.
pub(super) fn service_port(namespace: &str, name: &str, port: u16) -> anyhow::Result<SocketAddr> {
    eventually(
        &format!("service {name}.{namespace} is reached from here"),
        REACHED_WITHIN,
        || {
            let service = get(&["service", name, "-n", namespace])?;
            let tried = candidates(&service, port)?;
            tried
                .iter()
                .find(|address| TcpStream::connect_timeout(address, CONNECTED_WITHIN).is_ok())
                .copied()
                .with_context(|| format!("no connection to any of {tried:?}"))
        },
    )
}

/// The address of another port of a Service, beside a known one: it need not listen yet.
///
/// # Errors
/// When the Service has changed its addresses since, or has no such port.
pub(super) fn beside(
    (namespace, name): (&str, &str),
    (known_port, known): (u16, SocketAddr),
    port: u16,
) -> anyhow::Result<SocketAddr> {
    let service = get(&["service", name, "-n", namespace])?;
    let known_ones = candidates(&service, known_port)?;
    let others = candidates(&service, port)?;
    let index = known_ones.iter().position(|address| *address == known);
    index
        .and_then(|index| others.get(index).copied())
        .with_context(|| format!("{known} is no address of service {name}.{namespace} any more"))
}

fn candidates(service: &Value, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let ports = service["spec"]["ports"].as_array();
    let wanted = ports
        .into_iter()
        .flatten()
        .find(|candidate| candidate["port"] == port)
        .with_context(|| format!("the service has no port {port}"))?;
    let at = |ip: &Value, port: u64| {
        let ip = ip.as_str()?.parse().ok()?;
        Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
    };
    let balancers = service["status"]["loadBalancer"]["ingress"].as_array();
    let mut found: Vec<SocketAddr> = balancers
        .into_iter()
        .flatten()
        .filter_map(|ingress| at(&ingress["ip"], port.into()))
        .collect();
    if let Some(node_port) = wanted["nodePort"].as_u64() {
        let nodes = get(&["nodes"])?;
        for node in nodes["items"].as_array().into_iter().flatten() {
            let addresses = node["status"]["addresses"].as_array();
            let internal = addresses
                .into_iter()
                .flatten()
                .filter(|address| address["type"] == "InternalIP");
            found.extend(internal.filter_map(|address| at(&address["address"], node_port)));
        }
    }
    found.extend(at(&service["spec"]["clusterIP"], port.into()));
    Ok(found)
}
