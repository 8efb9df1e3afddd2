//! RDS: virtual hosts of sidecars (`9080`, `HOST:PORT`) and gateways (`http.8080`, `https...`).

mod action;
mod domains;
mod gateway;
mod matching;
mod mutation;
mod retry;
mod rules;
mod sidecar;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{EncodedResource, Names, context::Context, wire::*};

pub(crate) use rules::destination_cluster;
pub(crate) use sidecar::catch_all;

/// Largest body of a direct response, in bytes: 1 MiB, as Istio allows.
const MAX_DIRECT_RESPONSE_BYTES: u32 = 1 << 20;

/// The named route configurations; for [`Names::All`] those that the proxy's listeners refer to.
///
/// A sidecar that asks for a name that no listener has gets an empty configuration, since Envoy keeps
/// asking while the listener drains.
pub(crate) fn build(cx: &Context<'_>, wanted: &Names) -> Vec<EncodedResource> {
    let all;
    let names = match wanted {
        Names::Only(set) => &**set,
        Names::All => {
            all = names(cx);
            &all
        }
    };
    if cx.is_sidecar() {
        let build = |name: &str| Some(EncodedResource::new(name, &sidecar::build(cx, name)));
        return cx.shared.routes.get(names, build);
    }
    let own = names.iter();
    own.map(|name| EncodedResource::new(name.clone(), &gateway::build(cx, name)))
        .collect()
}

fn names(cx: &Context<'_>) -> BTreeSet<Arc<str>> {
    let names: Vec<String> = if cx.is_sidecar() {
        sidecar::names(cx)
    } else {
        let servers = cx.gateway().groups.values().flat_map(|g| &g.servers);
        servers.filter_map(|s| s.route_name.clone()).collect()
    };
    names.into_iter().map(Arc::from).collect()
}

fn configuration(name: &str, virtual_hosts: Vec<route::VirtualHost>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: boolean(false),
        max_direct_response_body_size_bytes: uint32(MAX_DIRECT_RESPONSE_BYTES),
        ignore_port_in_host_matching: true,
        ..route::RouteConfiguration::default()
    }
}

/// Matches every request.
pub(crate) fn match_all() -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..route::RouteMatch::default()
    }
}
