//! Clusters of the proxy's own application: `inbound|PORT||`.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_config::Protocol;
use mesh_config::destination_rule::ConnectionPool;
use mesh_config::mesh_config::InboundMode;
use mesh_config::sidecar::IngressEndpoint;

use super::builder::{Builder, bind_inbound_source};
use super::policy;
use crate::model::Service;
use crate::snapshot::ServiceTarget;
use crate::translate::context::Context;
use crate::translate::{names, wire::*};
use cluster::cluster::{DiscoveryType, LbPolicy};

/// The longest duration that Envoy takes for a clean-up: never.
const NEVER: Duration = Duration::from_secs(9_223_372_035);

/// Where the application is.
enum Application {
    /// At the address and port that were dialled.
    OriginalDestination,
    /// At this address.
    Address(base::Address),
}

/// The clusters of the workload's ports: those of its services, or of its Sidecar's ingress.
pub(super) fn build(cx: &Context<'_>) -> Vec<cluster::Cluster> {
    let ingress = cx
        .scope
        .sidecar
        .as_ref()
        .map_or(&[][..], |sidecar| &sidecar.spec.ingress);
    if ingress.is_empty() {
        return of_services(cx);
    }
    ingress
        .iter()
        .map(|listener| {
            let application = match &listener.default_endpoint {
                IngressEndpoint::SamePort => default_application(cx, listener.port.number.get()),
                IngressEndpoint::Loopback(at) => Application::Address(address(at.ip(), at.port())),
                IngressEndpoint::PodAddress(port) => {
                    Application::Address(address(cx.proxy.ip, port.get()))
                }
                IngressEndpoint::Unix(path) => Application::Address(pipe(path)),
            };
            let port = listener.port.number.get();
            let pool = listener.connection_pool.as_ref().or(sidecar_pool(cx));
            one(cx, port, listener.port.protocol, application, &[], pool)
        })
        .collect()
}

fn of_services(cx: &Context<'_>) -> Vec<cluster::Cluster> {
    let mut by_port: BTreeMap<u16, Vec<&ServiceTarget>> = BTreeMap::new();
    for target in cx.targets() {
        by_port.entry(target.target).or_default().push(target);
    }
    by_port
        .into_iter()
        .map(|(port, targets)| {
            let first = targets[0];
            let mut services: Vec<&Service> = Vec::new();
            for target in &targets {
                let known = services
                    .iter()
                    .any(|s| s.hostname == target.service.hostname);
                if !known && target.port.number == first.port.number {
                    services.push(&target.service);
                }
            }
            let rule = cx.destination_rule(&first.service).map(|rule| &**rule);
            let settings = super::default_policy(rule, None, first.port.number);
            let pool = sidecar_pool(cx).or(settings.connection_pool.as_ref());
            let application = default_application(cx, port);
            one(cx, port, first.port.protocol, application, &services, pool)
        })
        .collect()
}

/// The limits that the Sidecar sets for all inbound ports; they win over DestinationRules.
fn sidecar_pool<'b>(cx: &'b Context<'_>) -> Option<&'b ConnectionPool> {
    let sidecar = cx.scope.sidecar.as_ref()?;
    sidecar.spec.inbound_connection_pool.as_ref()
}

fn default_application(cx: &Context<'_>, port: u16) -> Application {
    match cx.mesh().inbound_traffic_policy {
        InboundMode::Passthrough => Application::OriginalDestination,
        InboundMode::Localhost => Application::Address(address("127.0.0.1", port)),
    }
}

fn pipe(path: &str) -> base::Address {
    base::Address {
        address: Some(base::address::Address::Pipe(base::Pipe {
            path: path.to_owned(),
            mode: 0,
        })),
    }
}

fn one(
    cx: &Context<'_>,
    port: u16,
    protocol: Protocol,
    application: Application,
    services: &[&Service],
    pool: Option<&ConnectionPool>,
) -> cluster::Cluster {
    let name = names::inbound_cluster(port);
    let kind = match application {
        Application::OriginalDestination => DiscoveryType::OriginalDst,
        Application::Address(_) => DiscoveryType::Static,
    };
    let mut builder = Builder::new(name.clone(), kind);
    builder.set_protocol(protocol, true);
    builder.set_services(services.iter().copied());
    policy::connection_pool(&mut builder, pool, cx.mesh());
    let cluster = &mut builder.cluster;
    match application {
        Application::OriginalDestination => {
            cluster.lb_policy = LbPolicy::ClusterProvided.into();
            cluster.cleanup_interval = duration(NEVER);
            cluster.upstream_bind_config = Some(bind_inbound_source());
        }
        Application::Address(at) => {
            if at == address(cx.proxy.ip, port_of(&at)) {
                cluster.upstream_bind_config = Some(bind_inbound_source());
            }
            cluster.load_assignment = Some(endpoint::ClusterLoadAssignment {
                cluster_name: name,
                endpoints: vec![endpoint::LocalityLbEndpoints {
                    lb_endpoints: vec![endpoint::LbEndpoint {
                        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
                            endpoint::Endpoint {
                                address: Some(at),
                                ..endpoint::Endpoint::default()
                            },
                        )),
                        ..endpoint::LbEndpoint::default()
                    }],
                    ..endpoint::LocalityLbEndpoints::default()
                }],
                ..endpoint::ClusterLoadAssignment::default()
            });
        }
    }
    builder.build()
}

fn port_of(at: &base::Address) -> u16 {
    use base::address::Address::SocketAddress;
    match &at.address {
        Some(SocketAddress(socket)) => match socket.port_specifier {
            Some(base::socket_address::PortSpecifier::PortValue(port)) => {
                u16::try_from(port).unwrap_or_default()
            }
            _ => 0,
        },
        _ => 0,
    }
}
