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
use crate::cluster::balance::Algorithm;
use crate::cluster::{
    BalancePolicy, Bounds, Cluster, ClusterKind, DnsFamily, DnsOptions, EndpointSet,
    EndpointSource, HttpOptions, HttpProtocol, Keepalive, OutlierPolicy, ServiceLabels, Shared,
};
use crate::compile::endpoints::{Names, assignment, text_labels};
use crate::compile::protocol::{self, AutoSni};
use crate::compile::{
    Unset, disregard, flag, known, name, nothing_left, number, port, some_duration, some_name,
    take, tls, type_name, unpack,
};
use crate::error::{At, Refused};
use crate::tls::{UpstreamTls, UpstreamTransport};

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
    let balance = balance(&mut config)?;
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
        bounds: bounds(take(&mut config.circuit_breakers)).at(|| "circuit_breakers".to_owned())?,
        outlier: take(&mut config.outlier_detection)
            .map(outlier)
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

struct Balance {
    policy: BalancePolicy,
    port_override: Option<u16>,
    close: bool,
}

fn balance(config: &mut cluster::Cluster) -> Result<Balance, Refused> {
    let mut common = take(&mut config.common_lb_config).unwrap_or_default();
    // New endpoints take part at once; updates are batched by the control plane.
    disregard!(common: update_merge_window, ignore_new_hosts_until_first_hc, override_host_status);
    let hashing = take(&mut common.consistent_hashing_lb_config).unwrap_or_default();
    if hashing.hash_balance_factor.is_some() {
        return Err(Refused::unsupported(
            "common_lb_config.consistent_hashing_lb_config.hash_balance_factor",
        ));
    }
    let by_locality_weight = match take(&mut common.locality_config_specifier) {
        Some(inner::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => true,
        Some(inner::common_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            return Err(Refused::unsupported(
                "common_lb_config.zone_aware_lb_config",
            ));
        }
        None => false,
    };
    let panic_percent = take(&mut common.healthy_panic_threshold).map_or(50.0, |share| share.value);
    let close = take(&mut common.close_connections_on_host_set_change);
    nothing_left(&common).at(|| "common_lb_config".to_owned())?;
    let (algorithm, port_override) = algorithm(config, hashing.use_hostname_for_hashing)?;
    Ok(Balance {
        policy: BalancePolicy {
            algorithm,
            panic_percent,
            by_locality_weight,
        },
        port_override,
        close,
    })
}

fn algorithm(
    config: &mut cluster::Cluster,
    by_hostname: bool,
) -> Result<(Algorithm, Option<u16>), Refused> {
    use inner::{LbConfig, LbPolicy};
    let policy = known(take(&mut config.lb_policy), "lb_policy")?;
    let settings = take(&mut config.lb_config);
    Ok(match (policy, settings) {
        (LbPolicy::RoundRobin, None) => (Algorithm::RoundRobin, None),
        (LbPolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(settings))) => {
            nothing_left(&settings).at(|| "round_robin_lb_config".to_owned())?;
            (Algorithm::RoundRobin, None)
        }
        (LbPolicy::LeastRequest, None) => (Algorithm::LeastRequest { choices: 2 }, None),
        (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(mut settings))) => {
            let choices = number(take(&mut settings.choice_count))
                .unwrap_or(2)
                .clamp(1, 64);
            nothing_left(&settings).at(|| "least_request_lb_config".to_owned())?;
            (Algorithm::LeastRequest { choices }, None)
        }
        (LbPolicy::Random, None) => (Algorithm::Random, None),
        (LbPolicy::RingHash, None) => {
            (ring(inner::RingHashLbConfig::default(), by_hostname)?, None)
        }
        (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(settings))) => {
            (ring(settings, by_hostname)?, None)
        }
        (LbPolicy::Maglev, None) => (maglev(None, by_hostname)?, None),
        (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(settings))) => (
            maglev(settings.table_size.map(|size| size.value), by_hostname)?,
            None,
        ),
        (LbPolicy::ClusterProvided, None) => (Algorithm::RoundRobin, None),
        (LbPolicy::ClusterProvided, Some(LbConfig::OriginalDstLbConfig(mut settings))) => {
            let value = number(take(&mut settings.upstream_port_override));
            nothing_left(&settings).at(|| "original_dst_lb_config".to_owned())?;
            let value =
                value.map(|value| port(value, "original_dst_lb_config.upstream_port_override"));
            (Algorithm::RoundRobin, value.transpose()?)
        }
        (LbPolicy::LoadBalancingPolicyConfig, _) => {
            return Err(Refused::unsupported("load_balancing_policy"));
        }
        (policy, Some(_)) => {
            return Err(Refused::field(
                "lb_config",
                format!("doesn't belong to lb_policy {policy:?}"),
            ));
        }
    })
}

fn ring(mut settings: inner::RingHashLbConfig, by_hostname: bool) -> Result<Algorithm, Refused> {
    let size = |value: Option<mesh_xds::google::protobuf::UInt64Value>, default: u32| {
        value.map_or(default, |value| {
            u32::try_from(value.value).unwrap_or(u32::MAX).min(8 << 20)
        })
    };
    let min_size = size(take(&mut settings.minimum_ring_size), 1024).max(1);
    let max_size = size(take(&mut settings.maximum_ring_size), 8 << 20);
    nothing_left(&settings).at(|| "ring_hash_lb_config".to_owned())?;
    if min_size > max_size {
        return Err(Refused::field(
            "ring_hash_lb_config.minimum_ring_size",
            "is more than the maximum",
        ));
    }
    Ok(Algorithm::RingHash {
        min_size,
        max_size,
        by_hostname,
    })
}

fn maglev(size: Option<u64>, by_hostname: bool) -> Result<Algorithm, Refused> {
    let size = size.unwrap_or(65_537);
    let prime = size > 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= size)
            .all(|divisor| size % divisor != 0);
    let size = u32::try_from(size)
        .ok()
        .filter(|size| prime && *size <= 5_000_011);
    let size = size.ok_or_else(|| {
        Refused::field(
            "maglev_lb_config.table_size",
            "must be a prime up to 5000011",
        )
    })?;
    Ok(Algorithm::Maglev { size, by_hostname })
}

type Sockets = (
    Vec<(BTreeMap<Box<str>, Box<str>>, UpstreamTransport)>,
    UpstreamTransport,
);

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
    Ok((by_labels, with_auto(socket, auto)))
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

fn bounds(breakers: Option<cluster::CircuitBreakers>) -> Result<Bounds, Refused> {
    let mut breakers = breakers.unwrap_or_default();
    let mut bounds = Bounds::default();
    for (at, mut one) in take(&mut breakers.thresholds).into_iter().enumerate() {
        let path = || format!("thresholds[{at}]");
        // Remaining units are a statistic.
        disregard!(one: track_remaining);
        if take(&mut one.priority) != core::RoutingPriority::Default as i32 {
            return Err(Refused::unsupported(format!("{}.priority", path())));
        }
        let or = |value: Option<u32>, default: u32| value.unwrap_or(default);
        bounds = Bounds {
            connections: or(number(take(&mut one.max_connections)), bounds.connections),
            pending: or(number(take(&mut one.max_pending_requests)), bounds.pending),
            requests: or(number(take(&mut one.max_requests)), bounds.requests),
            retries: or(number(take(&mut one.max_retries)), bounds.retries),
        };
        nothing_left(&one).at(path)?;
    }
    nothing_left(&breakers)?;
    Ok(bounds)
}

fn outlier(mut config: cluster::OutlierDetection) -> Result<OutlierPolicy, Refused> {
    // Parameters of the statistical kinds; whether those are enforced is looked at below.
    disregard!(config: success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
        failure_percentage_threshold, failure_percentage_minimum_hosts, failure_percentage_request_volume,
        successful_active_health_check_uneject_host, max_ejection_time_jitter);
    // Off by value, or by Envoy's minimum of 5 hosts with 100 requests each: istiod always writes 0.
    let off = |value: &mut Option<mesh_xds::google::protobuf::UInt32Value>| {
        number(take(value)).is_none_or(|value| value == 0)
    };
    let statistical_off = off(&mut config.enforcing_success_rate)
        && off(&mut config.enforcing_local_origin_success_rate)
        && off(&mut config.enforcing_failure_percentage)
        && off(&mut config.enforcing_failure_percentage_local_origin);
    if !statistical_off {
        return Err(Refused::field(
            "enforcing_success_rate",
            "statistical outlier detection is not supported by this proxy (set it to 0)",
        ));
    }
    let duration =
        |value, default, field| Ok::<_, Refused>(some_duration(value, field)?.unwrap_or(default));
    let share = |value, default| number(value).unwrap_or(default).min(100);
    let length =
        |value: Option<u32>, default| Some(value.unwrap_or(default)).filter(|length| *length > 0);
    let base_ejection = duration(
        take(&mut config.base_ejection_time),
        Duration::from_secs(30),
        "base_ejection_time",
    )?;
    let compiled = OutlierPolicy {
        consecutive_5xx: length(number(take(&mut config.consecutive_5xx)), 5),
        consecutive_gateway: length(number(take(&mut config.consecutive_gateway_failure)), 5),
        consecutive_local: length(
            number(take(&mut config.consecutive_local_origin_failure)),
            5,
        ),
        split_local: take(&mut config.split_external_local_origin_errors),
        enforcing: [
            share(take(&mut config.enforcing_consecutive_5xx), 100),
            share(take(&mut config.enforcing_consecutive_gateway_failure), 0),
            share(
                take(&mut config.enforcing_consecutive_local_origin_failure),
                100,
            ),
        ],
        interval: duration(
            take(&mut config.interval),
            Duration::from_secs(10),
            "interval",
        )?
        .max(Duration::from_millis(1)),
        base_ejection,
        max_ejection: duration(
            take(&mut config.max_ejection_time),
            Duration::from_secs(300),
            "max_ejection_time",
        )?,
        max_ejection_percent: share(take(&mut config.max_ejection_percent), 10),
        always_one: flag(take(&mut config.always_eject_one_host), Unset::False),
    };
    nothing_left(&config)?;
    Ok(compiled)
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
