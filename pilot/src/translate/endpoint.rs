//! EDS: the endpoints of `outbound|PORT|SUBSET|HOST`, by locality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::SubsetName;
use mesh_config::destination_rule::LoadBalancer;
use mesh_config::peer_authentication::MtlsMode;
use mesh_config::tls::ClientTls;

use super::{EncodedResource, Names, audience::View, names, wire::*};
use crate::model::{Address, Endpoint, Health, Locality, Resolution, Service, TlsMode, Workload};
use crate::snapshot::{MergedRule, Registry};

/// The load assignments of the named clusters; for [`Names::All`] those of every EDS cluster.
///
/// A name that stands for a service that this proxy does not see gets an empty assignment, so that a
/// client that still has the cluster does not wait.
pub(crate) fn build(cx: &View<'_>, wanted: &Names) -> Vec<EncodedResource> {
    let build = |name: &str| Some(EncodedResource::new(name, &assignment_of(cx, name)?));
    match wanted {
        Names::Only(set) => cx.shared.endpoints.get(set.iter(), build),
        Names::All => cx.shared.endpoints.get(&all_names(cx), build),
    }
}

fn all_names(cx: &View<'_>) -> BTreeSet<Arc<str>> {
    let mut out = BTreeSet::new();
    for service in &cx.scope.services {
        if service.is_dns() || cx.goes_to_original_destination(service) {
            continue;
        }
        let rule = cx.destination_rule(service);
        for port in &service.ports {
            let subsets = rule.map_or(&[][..], |rule| &rule.rule.subsets);
            let subsets = std::iter::once(None).chain(subsets.iter().map(|s| Some(&s.name)));
            for subset in subsets {
                let settings =
                    super::cluster::default_policy(rule.map(|r| &**r), subset, port.number);
                if settings.load_balancer == Some(LoadBalancer::Passthrough) {
                    continue;
                }
                let subset = subset.map_or("", SubsetName::as_str);
                let name = names::outbound_cluster(&service.hostname, subset, port.number);
                out.insert(name.into());
            }
        }
    }
    out
}

fn assignment_of(cx: &View<'_>, name: &str) -> Option<endpoint::ClusterLoadAssignment> {
    let (port, subset, host) = names::parse_outbound(name)?;
    let empty = || endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..endpoint::ClusterLoadAssignment::default()
    };
    let Some(service) = cx.scope.service(host).cloned() else {
        return Some(empty());
    };
    let Some(port) = service.port(port) else {
        return Some(empty());
    };
    if matches!(
        service.resolution,
        Resolution::Dns | Resolution::DnsRoundRobin
    ) {
        return None;
    }
    let rule = cx.destination_rule(&service).map(|rule| &**rule);
    let subset: Option<SubsetName> = match subset {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    if subset
        .as_ref()
        .is_some_and(|subset| rule.is_none_or(|rule| rule.rule.subset(subset).is_none()))
    {
        return Some(empty());
    }
    let endpoints = cx.snapshot.registry.endpoints(&service);
    let list: Vec<&Endpoint> = Registry::port_endpoints(&endpoints, port)
        .filter(|endpoint| matches!(endpoint.address, Address::Ip(_)))
        .filter(|endpoint| endpoint.health == Health::Healthy)
        .filter(|endpoint| in_subset(endpoint, rule, subset.as_ref()))
        .collect();
    Some(assignment(cx, name.to_owned(), &service, rule, &list))
}

/// Whether an endpoint has the labels of a subset; no subset has all.
pub(crate) fn in_subset(
    endpoint: &Endpoint,
    rule: Option<&MergedRule>,
    subset: Option<&SubsetName>,
) -> bool {
    let Some(name) = subset else { return true };
    let subset = rule.and_then(|rule| rule.rule.subset(name));
    subset.is_some_and(|subset| subset.labels.matches(endpoint.labels()))
}

/// Groups endpoints by locality. `list`: sorted by locality and address, as the registry keeps them.
pub(crate) fn assignment(
    cx: &View<'_>,
    cluster_name: String,
    service: &Service,
    rule: Option<&MergedRule>,
    list: &[&Endpoint],
) -> endpoint::ClusterLoadAssignment {
    let mut localities: BTreeMap<&Locality, Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for endpoint in list {
        localities
            .entry(&endpoint.locality)
            .or_default()
            .push(lb_endpoint(cx, endpoint, service, rule));
    }
    endpoint::ClusterLoadAssignment {
        cluster_name,
        endpoints: localities
            .into_iter()
            .map(|(locality, lb_endpoints)| endpoint::LocalityLbEndpoints {
                locality: Some(base::Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    sub_zone: locality.subzone.clone(),
                }),
                load_balancing_weight: uint32(
                    lb_endpoints
                        .iter()
                        .filter_map(|e| e.load_balancing_weight.as_ref())
                        .fold(0, |sum, weight| sum.saturating_add(weight.value)),
                ),
                lb_endpoints,
                ..endpoint::LocalityLbEndpoints::default()
            })
            .collect(),
        ..endpoint::ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(
    cx: &View<'_>,
    endpoint: &Endpoint,
    service: &Service,
    rule: Option<&MergedRule>,
) -> endpoint::LbEndpoint {
    let at = match &endpoint.address {
        Address::Ip(ip) => address(ip, endpoint.port),
        Address::Name(name) => address(name, endpoint.port),
    };
    let mut metadata = base::Metadata::default();
    if let Some(workload) = &endpoint.workload {
        metadata.filter_metadata.insert(
            "istio".to_owned(),
            structure([("workload", string_value(description(cx, workload)))]),
        );
    }
    if takes_mesh_tls(cx, endpoint, service, rule) {
        metadata.filter_metadata.insert(
            "envoy.transport_socket_match".to_owned(),
            structure([("tlsMode", string_value("istio"))]),
        );
    }
    endpoint::LbEndpoint {
        load_balancing_weight: uint32(endpoint.weight),
        health_status: base::HealthStatus::Healthy.into(),
        metadata: (!metadata.filter_metadata.is_empty()).then_some(metadata),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(at),
                ..endpoint::Endpoint::default()
            },
        )),
    }
}

/// `WORKLOAD;NAMESPACE;CANONICAL_NAME;CANONICAL_REVISION;CLUSTER_ID`, read by telemetry.
fn description(cx: &View<'_>, workload: &Workload) -> String {
    format!(
        "{};{};{};{};{}",
        workload.name,
        workload.namespace,
        workload.canonical_name(),
        workload.canonical_revision(),
        cx.cluster_id()
    )
}

/// Whether clients speak mesh mTLS to an endpoint: what the DestinationRule says, else whether it has
/// a sidecar whose policy does not disable mTLS.
fn takes_mesh_tls(
    cx: &View<'_>,
    endpoint: &Endpoint,
    service: &Service,
    rule: Option<&MergedRule>,
) -> bool {
    let port = service
        .ports
        .iter()
        .find(|port| *port.name == *endpoint.port_name);
    let settings = port.map(|port| super::cluster::default_policy(rule, None, port.number));
    if let Some(tls) = settings.and_then(|settings| settings.tls) {
        return matches!(tls, ClientTls::IstioMutual { .. });
    }
    let Some(workload) = &endpoint.workload else {
        return false;
    };
    if workload.tls_mode != TlsMode::Istio {
        return false;
    }
    let rules = &cx.snapshot.rules;
    let policy = rules.mtls(&workload.namespace, &workload.labels);
    mesh_config::PortNumber::new(endpoint.port)
        .is_none_or(|port| policy.of(port) != MtlsMode::Disable)
}
