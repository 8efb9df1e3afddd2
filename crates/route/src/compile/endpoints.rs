//! Load assignments.

use std::sync::Arc;

use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::endpoint::v3 as endpoint;

use crate::cluster::assignment::{Assignment, Group, Host, Spec};
use crate::cluster::{Health, Locality, SocketLabels, Workload};
use crate::compile::{
    Place, disregard, known, name, nothing_left, number, place, some_name, take, text,
};
use crate::error::{At, Refused};

/// Envoy's overprovisioning factor, in percent.
const OVERPROVISIONING: u32 = 140;

/// What endpoints of a cluster may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Host names are resolved.
    Resolved,
    /// Only IP addresses.
    Refused,
}

pub(crate) fn assignment(
    mut config: endpoint::ClusterLoadAssignment,
    names: Names,
) -> Result<Assignment, Refused> {
    disregard!(config: cluster_name);
    let overprovisioning = policy(take(&mut config.policy))?;
    let groups = take(&mut config.endpoints)
        .into_iter()
        .enumerate()
        .map(|(at, one)| group(one, names).at(|| format!("endpoints[{at}]")))
        .collect::<Result<_, _>>()?;
    nothing_left(&config)?;
    Ok(Assignment {
        groups,
        overprovisioning,
    })
}

fn policy(policy: Option<endpoint::cluster_load_assignment::Policy>) -> Result<u32, Refused> {
    let mut policy = policy.unwrap_or_default();
    // Endpoints stay until the control plane says otherwise: the data plane outlives it.
    disregard!(policy: endpoint_stale_after);
    let factor = number(take(&mut policy.overprovisioning_factor)).unwrap_or(OVERPROVISIONING);
    nothing_left(&policy).at(|| "policy".to_owned())?;
    Ok(factor)
}

fn group(mut config: endpoint::LocalityLbEndpoints, names: Names) -> Result<Group, Refused> {
    disregard!(config: metadata, proximity);
    let locality = take(&mut config.locality).unwrap_or_default();
    let endpoints = take(&mut config.lb_endpoints)
        .into_iter()
        .enumerate()
        .map(|(at, one)| spec(one, names).at(|| format!("lb_endpoints[{at}]")))
        .collect::<Result<_, _>>()?;
    let priority = take(&mut config.priority);
    // As in Envoy's API: priorities are few and dense.
    if priority > 128 {
        return Err(Refused::field(
            "priority",
            format!("{priority} is more than 128"),
        ));
    }
    let compiled = Group {
        locality: Arc::new(Locality {
            region: name(&locality.region),
            zone: name(&locality.zone),
            sub_zone: name(&locality.sub_zone),
        }),
        priority,
        weight: number(take(&mut config.load_balancing_weight)).unwrap_or(0),
        endpoints,
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn spec(mut config: endpoint::LbEndpoint, names: Names) -> Result<Spec, Refused> {
    let metadata = take(&mut config.metadata);
    let mut host = match take(&mut config.host_identifier) {
        Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(host)) => host,
        Some(endpoint::lb_endpoint::HostIdentifier::EndpointName(_)) => {
            return Err(Refused::unsupported("endpoint_name"));
        }
        None => return Err(Refused::missing("endpoint")),
    };
    // Only for active health checks, which are refused at the cluster, and for logs.
    disregard!(host: health_check_config, observability_name);
    let address = match place(take(&mut host.address)).at(|| "endpoint.address".to_owned())? {
        Place::Ip(address) => Host::Address(address),
        Place::Name(host, port) if names == Names::Resolved => Host::Name(host, port),
        Place::Name(host, _) => {
            return Err(Refused::field(
                "endpoint.address",
                format!("{host:?} is not an IP address"),
            ));
        }
    };
    let hostname = some_name(&take(&mut host.hostname));
    nothing_left(&host).at(|| "endpoint".to_owned())?;
    let compiled = Spec {
        host: address,
        hostname,
        weight: number(take(&mut config.load_balancing_weight))
            .unwrap_or(1)
            .max(1),
        health: health(take(&mut config.health_status))?,
        workload: Arc::new(Workload::of(metadata.as_ref()).unwrap_or_default()),
        socket_labels: labels(metadata.as_ref(), "envoy.transport_socket_match"),
        hash_key: metadata
            .as_ref()
            .and_then(|metadata| metadata.filter_metadata.get("envoy.lb"))
            .and_then(|fields| text(fields, "hash_key"))
            .map(name),
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn health(status: i32) -> Result<Health, Refused> {
    use core::HealthStatus as Status;
    Ok(match known(status, "health_status")? {
        Status::Unknown | Status::Healthy => Health::Healthy,
        Status::Degraded => Health::Degraded,
        Status::Draining => Health::Draining,
        Status::Unhealthy | Status::Timeout => Health::Unhealthy,
    })
}

fn labels(metadata: Option<&core::Metadata>, key: &str) -> SocketLabels {
    metadata
        .and_then(|metadata| metadata.filter_metadata.get(key))
        .map(text_labels)
        .unwrap_or_default()
}

/// The text fields of a `Struct`.
pub(crate) fn text_labels(fields: &mesh_xds::google::protobuf::Struct) -> SocketLabels {
    fields
        .fields
        .keys()
        .filter_map(|key| Some((name(key), name(text(fields, key)?))))
        .collect()
}
