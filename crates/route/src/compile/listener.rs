//! Listeners.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mesh_xds::envoy::config::core::v3::TrafficDirection;
use mesh_xds::envoy::config::listener::v3 as listener;

use crate::compile::{
    Unset, access_log, chain, disregard, flag, known, name, nothing_left, number, port, range,
    socket, some_duration, take, type_name,
};
use crate::error::{At, Refused};
use crate::listener::chain_match::{ChainMatch, ServerName, SourceType, Transport};
use crate::listener::{Inspectors, Listener, PortPredicate, Traffic};

const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";

/// Envoy's timeout of listener filters.
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn listener(mut config: listener::Listener) -> Result<Listener, Refused> {
    ignore_harmless(&mut config);
    let address = socket(take(&mut config.address)).at(|| "address".to_owned())?;
    let additional_addresses = take(&mut config.additional_addresses)
        .into_iter()
        .enumerate()
        .map(|(at, one)| socket(one.address).at(|| format!("additional_addresses[{at}]")))
        .collect::<Result<_, _>>()?;
    let (inspectors, restores_destination) = inspectors(&mut config)?;
    let (matches, chains) = chains(take(&mut config.filter_chains))?;
    let default_chain = take(&mut config.default_filter_chain)
        .map(|mut chain| {
            // As in Envoy, the default chain's own match says nothing.
            disregard!(chain: filter_chain_match);
            chain::chain(chain)
        })
        .transpose()
        .at(|| "default_filter_chain".to_owned())?;
    let compiled = Listener {
        name: name(&take(&mut config.name)),
        address,
        additional_addresses,
        bind: flag(take(&mut config.bind_to_port), Unset::True),
        traffic: traffic(take(&mut config.traffic_direction)),
        use_original_dst: flag(take(&mut config.use_original_dst), Unset::False),
        restores_destination,
        access_logs: access_log::logs(take(&mut config.access_log))?,
        inspectors,
        matches,
        chains,
        default_chain: default_chain.map(Arc::new),
    };
    if flag(take(&mut config.transparent), Unset::False) {
        return Err(Refused::unsupported("transparent"));
    }
    nothing_left(&config)?;
    if compiled.chains().next().is_none() {
        return Err(Refused::field("filter_chains", "there is none"));
    }
    Ok(compiled)
}

fn traffic(direction: i32) -> Traffic {
    match TrafficDirection::try_from(direction) {
        Ok(TrafficDirection::Inbound) => Traffic::Inbound,
        Ok(TrafficDirection::Outbound) => Traffic::Outbound,
        Ok(TrafficDirection::Unspecified) | Err(_) => Traffic::Unspecified,
    }
}

/// Statistics and metadata; buffers, backlogs and the balance between workers, which are the
/// proxy's own; draining, which it always does.
fn ignore_harmless(config: &mut listener::Listener) {
    disregard!(config: stat_prefix, stats_matcher, metadata, per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout, drain_type, freebind, tcp_backlog_size,
        tcp_fast_open_queue_length, connection_balance_config, reuse_port, enable_reuse_port,
        max_connections_to_accept_per_socket_event, ignore_global_conn_limit, bypass_overload_manager);
}

fn inspectors(config: &mut listener::Listener) -> Result<(Inspectors, bool), Refused> {
    let timeout = some_duration(
        take(&mut config.listener_filters_timeout),
        "listener_filters_timeout",
    )?;
    let mut compiled = Inspectors {
        tls: None,
        http: None,
        timeout: timeout.unwrap_or(FILTERS_TIMEOUT),
        continue_on_timeout: take(&mut config.continue_on_listener_filters_timeout),
    };
    let mut restores_destination = false;
    for (at, filter) in take(&mut config.listener_filters).into_iter().enumerate() {
        let path = || format!("listener_filters[{at}]");
        let disabled = filter
            .filter_disabled
            .map_or(Ok(PortPredicate::Never), predicate)
            .at(path)?;
        match kind(filter.config_type.as_ref(), &filter.name).at(path)? {
            ORIGINAL_DST => restores_destination = true,
            TLS_INSPECTOR => compiled.tls = Some(disabled),
            HTTP_INSPECTOR => compiled.http = Some(disabled),
            unknown => {
                return Err(Refused::field(
                    path(),
                    format!("listener filter {unknown} is not supported by this proxy"),
                ));
            }
        }
    }
    Ok((compiled, restores_destination))
}

fn kind<'a>(
    config: Option<&'a listener::listener_filter::ConfigType>,
    name: &'a str,
) -> Result<&'a str, Refused> {
    use listener::listener_filter::ConfigType;
    match (config, name) {
        (Some(ConfigType::TypedConfig(any)), _) => Ok(type_name(any)),
        (Some(ConfigType::ConfigDiscovery(_)), _) => Err(Refused::unsupported("config_discovery")),
        // Older control planes name the filter and give no configuration.
        (None, "envoy.filters.listener.original_dst") => Ok(ORIGINAL_DST),
        (None, "envoy.filters.listener.tls_inspector") => Ok(TLS_INSPECTOR),
        (None, "envoy.filters.listener.http_inspector") => Ok(HTTP_INSPECTOR),
        (None, unknown) => Ok(unknown),
    }
}

fn predicate(
    predicate: listener::ListenerFilterChainMatchPredicate,
) -> Result<PortPredicate, Refused> {
    use listener::listener_filter_chain_match_predicate::Rule;
    let many = |set: listener::listener_filter_chain_match_predicate::MatchSet| {
        set.rules
            .into_iter()
            .map(self::predicate)
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match predicate.rule {
        Some(Rule::OrMatch(set)) => PortPredicate::Some(many(set)?),
        Some(Rule::AndMatch(set)) => PortPredicate::All(many(set)?),
        Some(Rule::NotMatch(inner)) => PortPredicate::Not(Box::new(self::predicate(*inner)?)),
        Some(Rule::AnyMatch(true)) => PortPredicate::Always,
        Some(Rule::AnyMatch(false)) => PortPredicate::Never,
        Some(Rule::DestinationPortRange(ports)) => {
            let bound = |value: i32| u32::try_from(value).unwrap_or(0);
            PortPredicate::Range(bound(ports.start), bound(ports.end))
        }
        None => return Err(Refused::missing("filter_disabled.rule")),
    })
}

type Chains = (Vec<ChainMatch>, Vec<Arc<crate::listener::FilterChain>>);

fn chains(list: Vec<listener::FilterChain>) -> Result<Chains, Refused> {
    let mut matches = Vec::with_capacity(list.len());
    let mut chains = Vec::with_capacity(list.len());
    let mut seen: HashMap<ChainMatch, usize> = HashMap::with_capacity(list.len());
    for (at, mut one) in list.into_iter().enumerate() {
        let path = || format!("filter_chains[{at}]");
        let matched = chain_match(take(&mut one.filter_chain_match).unwrap_or_default())
            .at(|| "filter_chain_match".to_owned())
            .at(path)?;
        if let Some(first) = seen.insert(matched.clone(), at) {
            return Err(Refused::field(
                path(),
                format!("matches the same as filter_chains[{first}]"),
            ));
        }
        chains.push(Arc::new(chain::chain(one).at(path)?));
        matches.push(matched);
    }
    Ok((matches, chains))
}

fn chain_match(mut config: listener::FilterChainMatch) -> Result<ChainMatch, Refused> {
    use listener::filter_chain_match::ConnectionSourceType;
    let ranges = |list: Vec<_>, field: &str| {
        list.iter()
            .enumerate()
            .map(|(at, one)| range(one).at(|| format!("{field}[{at}]")))
            .collect::<Result<Vec<_>, _>>()
    };
    let transport = match take(&mut config.transport_protocol).as_str() {
        "" => None,
        "tls" => Some(Transport::Tls),
        "raw_buffer" => Some(Transport::RawBuffer),
        other => {
            return Err(Refused::field(
                "transport_protocol",
                format!("{other:?} is not supported by this proxy"),
            ));
        }
    };
    let compiled = ChainMatch {
        destination_port: number(take(&mut config.destination_port))
            .map(|value| port(value, "destination_port"))
            .transpose()?,
        destinations: ranges(take(&mut config.prefix_ranges), "prefix_ranges")?,
        server_names: server_names(take(&mut config.server_names))?,
        transport,
        application_protocols: take(&mut config.application_protocols)
            .iter()
            .map(|one| name(one))
            .collect(),
        direct_sources: ranges(
            take(&mut config.direct_source_prefix_ranges),
            "direct_source_prefix_ranges",
        )?,
        source_type: match known(take(&mut config.source_type), "source_type")? {
            ConnectionSourceType::Any => SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
            ConnectionSourceType::External => SourceType::External,
        },
        sources: ranges(
            take(&mut config.source_prefix_ranges),
            "source_prefix_ranges",
        )?,
        source_ports: take(&mut config.source_ports)
            .into_iter()
            .map(|value| port(value, "source_ports"))
            .collect::<Result<_, _>>()?,
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn server_names(list: Vec<String>) -> Result<Vec<ServerName>, Refused> {
    let mut names = Vec::with_capacity(list.len());
    for (at, text) in list.into_iter().enumerate() {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            // `*` is every name, and no name at all: no restriction.
            Some("") => return Ok(Vec::new()),
            Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => {
                names.push(ServerName::Suffix(suffix.into()));
            }
            None if !text.contains('*') && !text.is_empty() => {
                names.push(ServerName::Exact(text.into()))
            }
            _ => {
                return Err(Refused::field(
                    format!("server_names[{at}]"),
                    format!("{text:?} is neither a name nor `*.` with a name"),
                ));
            }
        }
    }
    Ok(names)
}
