//! Route configurations.

use std::sync::Arc;
use std::time::Duration;

use mesh_xds::envoy::config::route::v3 as route;

use crate::compile::action::{Inherited, action};
use crate::compile::filters::{self, PerRoute};
use crate::compile::headers::{header_fields, mutations};
use crate::compile::policies::Retries;
use crate::compile::{disregard, known, matchers, millionths, name, nothing_left, take};
use crate::error::{At, Refused};
use crate::route::Route;
use crate::table::hosts::HostIndex;
use crate::table::index::RouteIndex;
use crate::table::{RouteTable, VirtualHost};

/// Envoy's response timeout of a route that sets none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn table(mut config: route::RouteConfiguration) -> Result<RouteTable, Refused> {
    // Bodies are inline in the message already; whether clusters exist is seen per request, as
    // with Envoy's default for RDS; metadata says nothing to a proxy.
    disregard!(config: max_direct_response_body_size_bytes, validate_clusters, metadata);
    let mut by_host = HostIndex::default();
    let hosts_config = take(&mut config.virtual_hosts);
    let around = PerRoute::default().overridden(filters::per_route(take(
        &mut config.typed_per_filter_config,
    ))?);
    let mirrors = take(&mut config.request_mirror_policies);
    let retries = Retries::default();
    let mut hosts = Vec::with_capacity(hosts_config.len());
    for (at, host) in hosts_config.into_iter().enumerate() {
        let inherited = Inherited {
            retry: None,
            retries: &retries,
            mirrors: mirrors.clone(),
        };
        let path = || format!("virtual_hosts[{at}]");
        let host = virtual_host(host, &around, inherited).at(path)?;
        for domain in &host.domains {
            by_host.add(domain, at).at(path)?;
        }
        hosts.push(Arc::new(host));
    }
    let compiled = RouteTable {
        name: name(&take(&mut config.name)),
        hosts,
        by_host,
        ignore_port: take(&mut config.ignore_port_in_host_matching),
        mutations: mutations(header_fields!(config))?,
        most_specific_wins: take(&mut config.most_specific_header_mutations_wins),
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn virtual_host(
    mut host: route::VirtualHost,
    around: &PerRoute,
    mut inherited: Inherited<'_>,
) -> Result<VirtualHost, Refused> {
    // Statistics, and a header about timeouts that nobody reads; buffers are the proxy's own.
    disregard!(host: virtual_clusters, include_is_timeout_retry_header, metadata,
        per_request_buffer_limit_bytes, request_body_buffer_limit);
    use route::virtual_host::TlsRequirementType as Tls;
    let require_tls = match known(take(&mut host.require_tls), "require_tls")? {
        Tls::None => false,
        Tls::All => true,
        Tls::ExternalOnly => {
            return Err(Refused::field(
                "require_tls",
                "EXTERNAL_ONLY is not supported by this proxy",
            ));
        }
    };
    let own = filters::per_route(take(&mut host.typed_per_filter_config))?;
    let around = around.clone().overridden(own);
    inherited.retry = take(&mut host.retry_policy);
    match take(&mut host.request_mirror_policies) {
        own if own.is_empty() => {}
        own => inherited.mirrors = own,
    }
    let routes = take(&mut host.routes)
        .into_iter()
        .enumerate()
        .map(|(at, one)| {
            compile_route(one, &around, &inherited)
                .at(|| format!("routes[{at}]"))
                .map(Arc::new)
        })
        .collect::<Result<Box<[_]>, _>>()?;
    let compiled = VirtualHost {
        name: name(&take(&mut host.name)),
        domains: take(&mut host.domains)
            .iter()
            .map(|domain| name(domain))
            .collect(),
        index: RouteIndex::build(routes.iter().map(|route| &route.matcher)),
        routes,
        require_tls,
        include_attempt_count: take(&mut host.include_request_attempt_count),
        include_attempt_count_in_response: take(&mut host.include_attempt_count_in_response),
        mutations: mutations(header_fields!(host))?,
    };
    nothing_left(&host)?;
    Ok(compiled)
}

fn compile_route(
    mut route: route::Route,
    around: &PerRoute,
    inherited: &Inherited<'_>,
) -> Result<Route, Refused> {
    // The decorator names spans; our spans are named by method and route.
    disregard!(route: metadata, decorator, stat_prefix, per_request_buffer_limit_bytes, request_body_buffer_limit);
    let matcher = take(&mut route.r#match).ok_or_else(|| Refused::missing("match"))?;
    let matcher = matchers::route_match(matcher).at(|| "match".to_owned())?;
    let chosen = take(&mut route.action).ok_or_else(|| Refused::missing("action"))?;
    let extensions = around.clone().overridden(filters::per_route(take(
        &mut route.typed_per_filter_config,
    ))?);
    let compiled = Route {
        name: name(&take(&mut route.name)),
        action: action(chosen, &matcher.path, inherited)?,
        fault: extensions.fault,
        cors: extensions.cors,
        sampling_percent: take(&mut route.tracing)
            .map(sampling)
            .transpose()
            .at(|| "tracing".to_owned())?
            .flatten(),
        mutations: mutations(header_fields!(route))?,
        matcher,
    };
    nothing_left(&route)?;
    Ok(compiled)
}

fn sampling(mut tracing: route::Tracing) -> Result<Option<f64>, Refused> {
    // Client sampling needs x-client-trace-id, which we never honour.
    disregard!(tracing: client_sampling, overall_sampling);
    let share = take(&mut tracing.random_sampling);
    nothing_left(&tracing)?;
    let share = share.map(|share| millionths(&share)).transpose()?;
    Ok(share.map(|share| f64::from(share) / 10_000.0))
}
