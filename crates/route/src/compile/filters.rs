//! HTTP filters and their per-route configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::extensions::filters::http::router::v3::Router;
use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_xds::google::protobuf::Any;

use crate::compile::{authz, disregard, nothing_left, policies, take, type_name, unpack};
use crate::cors::Cors;
use crate::error::{At, Refused};
use crate::fault::Fault;
use crate::http_manager::HttpFilter;

const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// Filters of Istio's data plane whose work our proxy does without being told: metrics, ALPN
/// towards the mesh, peer metadata, gRPC message counts.
const BUILT_IN: &[&str] = &[
    "stats.PluginConfig",
    "io.istio.http.peer_metadata.Config",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
];

/// The filters before the router, in order.
pub(crate) fn http(filters: Vec<hcm::HttpFilter>) -> Result<Vec<HttpFilter>, Refused> {
    let last = filters
        .len()
        .checked_sub(1)
        .ok_or_else(|| Refused::missing("http_filters"))?;
    let mut compiled = Vec::new();
    for (at, filter) in filters.into_iter().enumerate() {
        let path = || format!("http_filters[{at}]");
        match http_filter(filter).at(path)? {
            Compiled::Router if at == last => return Ok(compiled),
            Compiled::Router => {
                return Err(Refused::field(path(), "the router must be the last filter"));
            }
            Compiled::Nothing => {}
            Compiled::Filter(filter) => compiled.push(filter),
        }
    }
    Err(Refused::field(
        "http_filters",
        "the last filter must be envoy.filters.http.router",
    ))
}

enum Compiled {
    Router,
    Nothing,
    Filter(HttpFilter),
}

fn http_filter(filter: hcm::HttpFilter) -> Result<Compiled, Refused> {
    if filter.disabled {
        return Err(Refused::unsupported("disabled"));
    }
    let any = match filter.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(any)) => any,
        Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Refused::unsupported("config_discovery"));
        }
        None => return Err(Refused::missing("typed_config")),
    };
    let at = || "typed_config".to_owned();
    Ok(match type_name(&any) {
        ROUTER => router(unpack(&any)?).at(at).map(|()| Compiled::Router)?,
        RBAC => match authz::http(unpack(&any)?).at(at)? {
            Some(rbac) => Compiled::Filter(HttpFilter::Rbac(Arc::new(rbac))),
            None => Compiled::Nothing,
        },
        FAULT => {
            let fault = policies::fault(unpack(&any)?).at(at)?;
            let active = fault.delay.is_some() || fault.abort.is_some();
            Compiled::Filter(HttpFilter::Fault(active.then(|| Arc::new(fault))))
        }
        CORS => Compiled::Filter(HttpFilter::Cors),
        known if BUILT_IN.contains(&known) => Compiled::Nothing,
        _ if filter.is_optional => Compiled::Nothing,
        unknown => {
            let reason = format!(
                "filter {:?} of type {unknown} is not supported by this proxy",
                filter.name
            );
            return Err(Refused::field("typed_config", reason));
        }
    })
}

fn router(mut router: Router) -> Result<(), Refused> {
    // Statistics, spans and request bodies' accounting are the proxy's own; it never trusts
    // x-envoy-expected-rq-timeout-ms from a peer.
    disregard!(router: dynamic_stats, start_child_span, suppress_envoy_headers, suppress_grpc_request_failure_code_stats,
        reject_connect_request_early_data);
    nothing_left(&router)
}

/// Per-route extensions that the engine knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerRoute {
    pub(crate) fault: Option<Arc<Fault>>,
    pub(crate) cors: Option<Arc<Cors>>,
}

impl PerRoute {
    /// The more specific level replaces the less specific one, filter by filter.
    pub(crate) fn overridden(self, by: PerRoute) -> Self {
        Self {
            fault: by.fault.or(self.fault),
            cors: by.cors.or(self.cors),
        }
    }
}

pub(crate) fn per_route(configs: BTreeMap<String, Any>) -> Result<PerRoute, Refused> {
    let mut compiled = PerRoute::default();
    for (filter, any) in configs {
        extension(&mut compiled, &filter, any)
            .at(|| format!("typed_per_filter_config[{filter}]"))?;
    }
    Ok(compiled)
}

fn extension(compiled: &mut PerRoute, filter: &str, any: Any) -> Result<(), Refused> {
    let (any, optional) = match type_name(&any) {
        FILTER_CONFIG => {
            let wrapper: route::FilterConfig = unpack(&any)?;
            if wrapper.disabled {
                return Err(Refused::unsupported("disabled"));
            }
            let inner = wrapper.config.ok_or_else(|| Refused::missing("config"))?;
            (inner, wrapper.is_optional)
        }
        _ => (any, false),
    };
    match type_name(&any) {
        FAULT => compiled.fault = Some(Arc::new(policies::fault(unpack(&any)?)?)),
        CORS_POLICY => {
            let mut policy = unpack(&any)?;
            compiled.cors = policies::cors(take(&mut policy))?.map(Arc::new);
        }
        _ if optional => {}
        unknown => {
            return Err(Refused::new(format!(
                "settings of type {unknown} for filter {filter:?} are not supported by this proxy"
            )));
        }
    }
    Ok(())
}
