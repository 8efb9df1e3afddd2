//! CDS: one cluster per service port and subset, the workload's own ports, and the catch-alls.

mod builder;
mod inbound;
mod outbound;
mod policy;
mod security;

use std::time::Duration;

use mesh_xds::any::pack;

pub(crate) use outbound::default_policy;

use super::{
    EncodedResource, Names, audience::View, context::Context, names, shared::merged, wire::*,
};

/// Extension under which a cluster's HTTP options stand.
pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The clusters of a proxy, by name.
pub(crate) fn build(cx: &Context<'_>, wanted: &Names) -> Vec<EncodedResource> {
    let shared = cx.shared.clusters.get_or_init(|| of_audience(cx));
    let own = if cx.is_sidecar() {
        let own = inbound::build(cx).into_iter();
        own.map(|cluster| encode(&cluster)).collect()
    } else {
        Vec::new()
    };
    merged(shared, own, wanted)
}

/// The clusters of services and the catch-alls.
fn of_audience(view: &View<'_>) -> Vec<EncodedResource> {
    let mut out: Vec<EncodedResource> = outbound::build(view).map(|it| encode(&it)).collect();
    out.push(encode(&black_hole(view)));
    if view.is_sidecar() {
        out.push(encode(&passthrough(view)));
        out.push(encode(&inbound_passthrough(view)));
    }
    out.sort_by(|a, b| a.name().cmp(b.name()));
    out.dedup_by(|a, b| a.name() == b.name());
    out
}

fn encode(cluster: &cluster::Cluster) -> EncodedResource {
    EncodedResource::new(cluster.name.as_str(), cluster)
}

fn black_hole(cx: &View<'_>) -> cluster::Cluster {
    cluster::Cluster {
        name: names::BLACK_HOLE.to_owned(),
        alt_stat_name: names::stat_prefix(names::BLACK_HOLE),
        cluster_discovery_type: Some(builder::discovery(cluster::cluster::DiscoveryType::Static)),
        connect_timeout: duration(cx.mesh().connect_timeout),
        ..cluster::Cluster::default()
    }
}

fn passthrough(cx: &View<'_>) -> cluster::Cluster {
    let options = upstream::HttpProtocolOptions {
        common_http_protocol_options: Some(base::HttpProtocolOptions {
            idle_timeout: duration(Duration::from_secs(300)),
            ..base::HttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(builder::use_downstream_protocol()),
        ..upstream::HttpProtocolOptions::default()
    };
    cluster::Cluster {
        name: names::PASSTHROUGH.to_owned(),
        alt_stat_name: names::stat_prefix(names::PASSTHROUGH),
        cluster_discovery_type: Some(builder::discovery(
            cluster::cluster::DiscoveryType::OriginalDst,
        )),
        lb_policy: cluster::cluster::LbPolicy::ClusterProvided.into(),
        connect_timeout: duration(cx.mesh().connect_timeout),
        circuit_breakers: Some(policy::breakers(policy::no_limits())),
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), pack(&options))].into(),
        ..cluster::Cluster::default()
    }
}

fn inbound_passthrough(cx: &View<'_>) -> cluster::Cluster {
    cluster::Cluster {
        name: names::INBOUND_PASSTHROUGH.to_owned(),
        alt_stat_name: names::stat_prefix(names::INBOUND_PASSTHROUGH),
        upstream_bind_config: Some(builder::bind_inbound_source()),
        ..passthrough(cx)
    }
}
