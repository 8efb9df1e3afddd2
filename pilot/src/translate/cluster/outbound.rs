//! Clusters of services: `outbound|PORT|SUBSET|HOST`.

use mesh_config::destination_rule::PolicySettings;
use mesh_config::{PortNumber, SubsetName};

use super::builder::Builder;
use super::{policy, security};
use crate::model::{Registry as Source, Resolution, Service, ServicePort};
use crate::snapshot::{MergedRule, Registry};
use crate::translate::audience::View;
use crate::translate::{endpoint as eds, names, wire::*};
use cluster::cluster::{DiscoveryType, DnsLookupFamily, EdsClusterConfig};

/// The clusters of all services that are seen.
pub(super) fn build(cx: &View<'_>) -> impl Iterator<Item = cluster::Cluster> {
    cx.scope.services.iter().flat_map(move |service| {
        let rule = cx.destination_rule(service).map(|rule| &**rule);
        let subsets = rule.map_or(&[][..], |rule| &rule.rule.subsets);
        service.ports.iter().flat_map(move |port| {
            let names = std::iter::once(None).chain(subsets.iter().map(|s| Some(&s.name)));
            names.filter_map(move |subset| one(cx, service, port, rule, subset))
        })
    })
}

/// What applies to a port of a service where no DestinationRule says anything.
pub(crate) fn default_policy(
    rule: Option<&MergedRule>,
    subset: Option<&SubsetName>,
    port: u16,
) -> PolicySettings {
    match (rule, PortNumber::new(port)) {
        (Some(rule), Some(port)) => rule.rule.policy(subset, port),
        _ => PolicySettings::default(),
    }
}

fn one(
    cx: &View<'_>,
    service: &Service,
    port: &ServicePort,
    rule: Option<&MergedRule>,
    subset: Option<&SubsetName>,
) -> Option<cluster::Cluster> {
    let subset_name = subset.map_or("", SubsetName::as_str);
    let settings = default_policy(rule, subset, port.number);
    let name = names::outbound_cluster(&service.hostname, subset_name, port.number);
    let mut builder = Builder::new(name, discovery(cx, service));
    if service.is_dns() {
        set_dns(cx, &mut builder, service, port, rule, subset)?;
    }
    builder.set_protocol(port.protocol, cx.is_sidecar());
    builder.set_services([service]);
    describe(&mut builder, rule, subset);
    let pool = settings.connection_pool.as_ref();
    if policy::upgrades_to_http2(pool, port.protocol.is_http(), cx.mesh()) {
        builder.set_http2();
    }
    policy::connection_pool(&mut builder, pool, cx.mesh());
    policy::outlier_detection(&mut builder, settings.outlier_detection.as_ref());
    policy::load_balancer(&mut builder, settings.load_balancer.as_ref());
    let selected = rule.is_some_and(|rule| rule.rule.workload_selector.is_some());
    security::apply(
        cx,
        &mut builder,
        service,
        port,
        subset_name,
        settings.tls.as_ref(),
        selected,
    );
    if builder.kind() == DiscoveryType::Eds {
        builder.cluster.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: builder.cluster.name.clone(),
        });
    }
    port_override(&mut builder, service, port);
    Some(builder.build())
}

fn discovery(cx: &View<'_>, service: &Service) -> DiscoveryType {
    match service.resolution {
        Resolution::Dns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
        Resolution::Passthrough if cx.goes_to_original_destination(service) => {
            DiscoveryType::OriginalDst
        }
        Resolution::Static | Resolution::Passthrough => DiscoveryType::Eds,
    }
}

#[allow(deprecated)] // The fields' replacement needs an extension that not every Envoy has.
/// Endpoints that are looked up by name stand in the cluster. Envoy refuses such a cluster without
/// any, so it is left out (its routes then answer 503).
fn set_dns(
    cx: &View<'_>,
    builder: &mut Builder,
    service: &Service,
    port: &ServicePort,
    rule: Option<&MergedRule>,
    subset: Option<&SubsetName>,
) -> Option<()> {
    let endpoints = cx.snapshot.registry.endpoints(service);
    let mut list: Vec<_> = Registry::port_endpoints(&endpoints, port)
        .filter(|endpoint| eds::in_subset(endpoint, rule, subset))
        .collect();
    if builder.kind() == DiscoveryType::LogicalDns {
        list.truncate(1); // Envoy's logical DNS resolves one name.
    }
    if list.is_empty() {
        return None;
    }
    let assignment = eds::assignment(cx, builder.cluster.name.clone(), service, rule, &list);
    let cluster = &mut builder.cluster;
    cluster.load_assignment = Some(assignment);
    cluster.dns_lookup_family = if cx.is_ipv4() {
        DnsLookupFamily::V4Only
    } else {
        DnsLookupFamily::V6Only
    }
    .into();
    cluster.dns_refresh_rate = duration(cx.mesh().dns_refresh_rate);
    cluster.respect_dns_ttl = true;
    Some(())
}

/// Where a ServiceEntry without resolution has a target port, connections go to it.
fn port_override(builder: &mut Builder, service: &Service, port: &ServicePort) {
    use cluster::cluster::{LbConfig, OriginalDstLbConfig};
    let crate::model::TargetPort::Number(target) = port.target else {
        return;
    };
    // A headless Service's port is no translation: clients dial the pod's own port.
    let entry = service.registry == Source::ServiceEntry;
    if entry && builder.kind() == DiscoveryType::OriginalDst && target != port.number {
        builder.cluster.lb_config = Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
            upstream_port_override: uint32(target.into()),
            ..OriginalDstLbConfig::default()
        }));
    }
}

/// Says in the metadata which rule and subset made the cluster.
fn describe(builder: &mut Builder, rule: Option<&MergedRule>, subset: Option<&SubsetName>) {
    if let Some(rule) = rule {
        let path = format!(
            "/apis/networking.istio.io/v1/namespaces/{}/destination-rule/{}",
            rule.meta.namespace, rule.meta.name
        );
        builder.set_metadata("config", string_value(path));
    }
    if let Some(subset) = subset {
        builder.set_metadata("subset", string_value(subset.as_str()));
    }
}
