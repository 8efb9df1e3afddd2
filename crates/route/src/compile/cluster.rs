//! Clusters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::cluster::v3::cluster as inner;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::extensions::upstreams::tcp::v3::TcpProtocolOptions;
use mesh_xds::google::protobuf::Any;

use crate::cluster::assignment::Assignment;
use crate::cluster::{
    Cluster, ClusterKind, DnsFamily, DnsOptions, EndpointSet, EndpointSource, HttpOptions,
    HttpProtocol, Keepalive, ServiceLabels, Shared, SocketLabels,
};
use crate::compile::endpoints::{Names, assignment, text_labels};
use crate::compile::protocol::{self, AutoSni};
use crate::compile::{
    disregard, known, name, nothing_left, number, some_duration, some_name, take, tls, type_name,
    unpack,
};
use crate::error::{At, Refused};
use crate::tls::{UpstreamTls, UpstreamTransport};

mod balance;
mod resilience;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TCP_OPTIONS: &str = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";
/// Peer metadata exchange of Istio's data plane, which our proxy does without being told.
const BUILT_IN: &[&str] = &[
    "io.istio.tcp.metadata_exchange.MetadataExchange",
    "envoy.tcp.metadataexchange.config.MetadataExchange",
];
/// Envoy's connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's DNS refresh rate.
const DNS_REFRESH: Duration = Duration::from_secs(5);

/// Compiles a cluster without endpoints from EDS; `shared` is that of the version before, if any.
pub(crate) fn cluster(
    mut config: cluster::Cluster,
    shared: Option<Arc<Shared>>,
) -> Result<Cluster, Refused> {
    ignore_harmless(&mut config);
    let cluster_name = take(&mut config.name);
    let kind = kind(take(&mut config.cluster_discovery_type))?;
    let eds = take(&mut config.eds_cluster_config);
    let assigned = inline_assignment(take(&mut config.load_assignment), kind)?;
    let (http, tcp_idle_timeout, auto) = protocols(&mut config)?;
    let balance = balance::balance(&mut config)?;
    let (sockets, socket) = sockets(&mut config, auto)?;
    let metadata = take(&mut config.metadata);
    let compiled = Cluster {
        service: ServiceLabels::of(&cluster_name, metadata.as_ref()),
        eds_name: (kind == ClusterKind::Eds).then(|| {
            eds.and_then(|eds| some_name(&eds.service_name))
                .unwrap_or_else(|| name(&cluster_name))
        }),
        name: name(&cluster_name),
        kind,
        connect_timeout: some_duration(take(&mut config.connect_timeout), "connect_timeout")?
            .unwrap_or(CONNECT_TIMEOUT),
        bind_source: bind(take(&mut config.upstream_bind_config))
            .at(|| "upstream_bind_config".to_owned())?,
        keepalive: keepalive(take(&mut config.upstream_connection_options))?,
        http,
        tcp_idle_timeout,
        close_on_removal: take(&mut config.close_connections_on_host_health_failure)
            || balance.close,
        balance: balance.policy,
        bounds: resilience::bounds(take(&mut config.circuit_breakers))
            .at(|| "circuit_breakers".to_owned())?,
        outlier: take(&mut config.outlier_detection)
            .map(resilience::outlier)
            .transpose()
            .at(|| "outlier_detection".to_owned())?,
        dns: dns(&mut config)?,
        port_override: balance.port_override,
        sockets,
        socket,
        targets: crate::cluster::runtime::targets(&assigned),
        shared: shared.unwrap_or_default(),
        slot: ArcSwap::from_pointee(EndpointSet::empty()),
        source: Mutex::new(EndpointSource {
            assignment: Arc::new(assigned),
            resolved: BTreeMap::new(),
        }),
        last_original: ArcSwapOption::empty(),
    };
    check_filters(&mut config)?;
    nothing_left(&config)?;
    Ok(compiled)
}

/// Statistics; buffers; cleaning up of original-destination hosts, of which we keep one;
/// warming at start, which is the compiler's; host removal, which is immediate here.
fn ignore_harmless(config: &mut cluster::Cluster) {
    disregard!(config: alt_stat_name, stats_matcher, per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout, cleanup_interval, wait_for_warm_on_init,
        ignore_health_on_host_removal, track_timeout_budgets, track_cluster_stats, lrs_server,
        lrs_report_endpoint_metrics, preconnect_policy, dns_jitter, dns_failure_refresh_rate);
}

fn kind(kind: Option<inner::ClusterDiscoveryType>) -> Result<ClusterKind, Refused> {
    match kind {
        Some(inner::ClusterDiscoveryType::Type(kind)) => Ok(match known(kind, "type")? {
            inner::DiscoveryType::Static => ClusterKind::Static,
            inner::DiscoveryType::StrictDns => ClusterKind::StrictDns,
            inner::DiscoveryType::LogicalDns => ClusterKind::LogicalDns,
            inner::DiscoveryType::Eds => ClusterKind::Eds,
            inner::DiscoveryType::OriginalDst => ClusterKind::OriginalDst,
        }),
        Some(inner::ClusterDiscoveryType::ClusterType(custom)) => Err(Refused::field(
            "cluster_type",
            format!("{:?} is not supported by this proxy", custom.name),
        )),
        None => Ok(ClusterKind::Static),
    }
}

fn inline_assignment(
    config: Option<mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment>,
    kind: ClusterKind,
) -> Result<Assignment, Refused> {
    let names = match kind {
        ClusterKind::StrictDns | ClusterKind::LogicalDns => Names::Resolved,
        _ => Names::Refused,
    };
    let assigned = config.map_or(Ok(Assignment::default()), |config| {
        assignment(config, names)
    });
    let assigned = assigned.at(|| "load_assignment".to_owned())?;
    let count: usize = assigned
        .groups
        .iter()
        .map(|group| group.endpoints.len())
        .sum();
    match kind {
        ClusterKind::Eds | ClusterKind::OriginalDst if count > 0 => Err(Refused::field(
            "load_assignment",
            "has no place in a cluster of type EDS or ORIGINAL_DST",
        )),
        ClusterKind::LogicalDns if count != 1 => Err(Refused::field(
            "load_assignment",
            "a LOGICAL_DNS cluster has exactly one endpoint",
        )),
        _ => Ok(assigned),
    }
}

/// HTTP options from the typed extension, else from the older fields.
fn protocols(
    config: &mut cluster::Cluster,
) -> Result<(HttpOptions, Option<Duration>, AutoSni), Refused> {
    let mut tcp_idle = None;
    let mut http = None;
    for (key, any) in take(&mut config.typed_extension_protocol_options) {
        let path = || format!("typed_extension_protocol_options[{key}]");
        match type_name(&any) {
            HTTP_OPTIONS => http = Some(protocol::upstream(unpack(&any).at(path)?).at(path)?),
            TCP_OPTIONS => tcp_idle = tcp_options(&any).at(path)?,
            unknown => {
                return Err(Refused::field(
                    path(),
                    format!("{unknown} is not supported by this proxy"),
                ));
            }
        }
    }
    let requests = number(take(&mut config.max_requests_per_connection));
    let older = older_protocol(config)?;
    let (mut http, auto) = http.unwrap_or(older);
    if let Some(requests) = requests {
        http.max_requests_per_connection = requests;
    }
    Ok((http, tcp_idle, auto))
}

fn tcp_options(any: &Any) -> Result<Option<Duration>, Refused> {
    let mut options: TcpProtocolOptions = unpack(any)?;
    let idle = some_duration(take(&mut options.idle_timeout), "idle_timeout")?;
    nothing_left(&options)?;
    Ok(idle.filter(|time| !time.is_zero()))
}

fn older_protocol(config: &mut cluster::Cluster) -> Result<(HttpOptions, AutoSni), Refused> {
    let two = take(&mut config.http2_protocol_options);
    let selection = known(take(&mut config.protocol_selection), "protocol_selection")?;
    let protocol = match selection {
        inner::ClusterProtocolSelection::UseDownstreamProtocol => HttpProtocol::Downstream,
        inner::ClusterProtocolSelection::UseConfiguredProtocol if two.is_some() => {
            HttpProtocol::Http2
        }
        inner::ClusterProtocolSelection::UseConfiguredProtocol => HttpProtocol::Http1,
    };
    let options = protocol::build(
        protocol,
        protocol::common(take(&mut config.common_http_protocol_options))
            .at(|| "common_http_protocol_options".to_owned())?,
        protocol::http1(take(&mut config.http_protocol_options))
            .at(|| "http_protocol_options".to_owned())?,
        protocol::http2(two).at(|| "http2_protocol_options".to_owned())?,
    );
    Ok((
        options,
        protocol::auto_sni(take(&mut config.upstream_http_protocol_options))?,
    ))
}

type Sockets = (Box<[(SocketLabels, UpstreamTransport)]>, UpstreamTransport);

fn sockets(config: &mut cluster::Cluster, auto: AutoSni) -> Result<Sockets, Refused> {
    let mut by_labels = Vec::new();
    for (at, mut one) in take(&mut config.transport_socket_matches)
        .into_iter()
        .enumerate()
    {
        let path = || format!("transport_socket_matches[{at}].transport_socket");
        let labels = take(&mut one.r#match).unwrap_or_default();
        let socket = tls::upstream(take(&mut one.transport_socket)).at(path)?;
        by_labels.push((text_labels(&labels), with_auto(socket, auto)));
    }
    let socket =
        tls::upstream(take(&mut config.transport_socket)).at(|| "transport_socket".to_owned())?;
    Ok((by_labels.into(), with_auto(socket, auto)))
}

fn with_auto(socket: UpstreamTransport, auto: AutoSni) -> UpstreamTransport {
    match socket {
        UpstreamTransport::Tls(tls) if auto.sni || auto.san => {
            UpstreamTransport::Tls(Arc::new(UpstreamTls {
                auto_host_sni: tls.auto_host_sni || auto.sni,
                auto_san_validation: tls.auto_san_validation || auto.san,
                ..(*tls).clone()
            }))
        }
        other => other,
    }
}

fn bind(config: Option<core::BindConfig>) -> Result<Option<IpAddr>, Refused> {
    let Some(mut config) = config else {
        return Ok(None);
    };
    // One source address of the other family, or a loopback one, needs nothing more of the socket.
    disregard!(config: freebind, extra_source_addresses, additional_source_addresses, socket_options);
    let address =
        take(&mut config.source_address).map(|source| crate::compile::ip(&source.address));
    nothing_left(&config)?;
    address.transpose().at(|| "source_address".to_owned())
}

fn keepalive(
    options: Option<cluster::UpstreamConnectionOptions>,
) -> Result<Option<Keepalive>, Refused> {
    let mut options = options.unwrap_or_default();
    let keepalive = take(&mut options.tcp_keepalive).map(|keepalive| Keepalive {
        probes: number(keepalive.keepalive_probes),
        idle: number(keepalive.keepalive_time).map(|seconds| Duration::from_secs(seconds.into())),
        interval: number(keepalive.keepalive_interval)
            .map(|seconds| Duration::from_secs(seconds.into())),
    });
    // Only a tag for logs of the local address.
    disregard!(options: set_local_interface_name_on_upstream_connections);
    nothing_left(&options).at(|| "upstream_connection_options".to_owned())?;
    Ok(keepalive)
}

fn dns(config: &mut cluster::Cluster) -> Result<DnsOptions, Refused> {
    // The proxy's resolver is its own.
    disregard!(config: dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config);
    Ok(DnsOptions {
        refresh: some_duration(take(&mut config.dns_refresh_rate), "dns_refresh_rate")?
            .unwrap_or(DNS_REFRESH),
        respect_ttl: take(&mut config.respect_dns_ttl),
        family: match known(take(&mut config.dns_lookup_family), "dns_lookup_family")? {
            inner::DnsLookupFamily::Auto => DnsFamily::Auto,
            inner::DnsLookupFamily::V4Only => DnsFamily::V4Only,
            inner::DnsLookupFamily::V6Only => DnsFamily::V6Only,
            inner::DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
            inner::DnsLookupFamily::All => DnsFamily::All,
        },
    })
}

/// Upstream network filters: those whose work is built in.
fn check_filters(config: &mut cluster::Cluster) -> Result<(), Refused> {
    for (at, filter) in take(&mut config.filters).into_iter().enumerate() {
        let kind = filter.typed_config.as_ref().map_or("", type_name);
        if !BUILT_IN.contains(&kind) {
            return Err(Refused::field(
                format!("filters[{at}]"),
                format!("filter {:?} is not supported by this proxy", filter.name),
            ));
        }
    }
    Ok(())
}
