//! RDS: virtual hosts of sidecars (`9080`, `HOST:PORT`) and gateways (`http.8080`, `https...`).

mod action;
mod domains;
mod gateway;
mod matching;
mod mutation;
mod retry;
mod rules;
mod sidecar;

use super::{NamedResource, Names, context::Context, wire::*};

pub(crate) use rules::destination_cluster;
pub(crate) use sidecar::catch_all;

/// Largest body of a direct response, in bytes: 1 MiB, as Istio allows.
const MAX_DIRECT_RESPONSE_BYTES: u32 = 1 << 20;

/// The named route configurations; for [`Names::All`] those that the proxy's listeners refer to.
///
/// A sidecar that asks for a name that no listener has gets an empty configuration, since Envoy keeps
/// asking while the listener drains.
pub(crate) fn build(cx: &Context<'_>, wanted: &Names) -> Vec<NamedResource> {
    let all;
    let names: Box<dyn Iterator<Item = &String>> = match wanted {
        Names::Only(set) => Box::new(set.iter()),
        Names::All => {
            all = names(cx);
            Box::new(all.iter())
        }
    };
    names
        .flat_map(|name| {
            if cx.is_sidecar() {
                sidecar::build(cx, name)
            } else {
                let routes = gateway::build(cx, name);
                std::sync::Arc::new(vec![NamedResource::new(name.clone(), &routes)])
            }
            .iter()
            .cloned()
            .collect::<Vec<_>>()
        })
        .collect()
}

fn names(cx: &Context<'_>) -> Vec<String> {
    let mut out: Vec<String> = if cx.is_sidecar() {
        sidecar::names(cx)
    } else {
        let servers = cx.gateway().groups.values().flat_map(|g| &g.servers);
        servers.filter_map(|s| s.route_name.clone()).collect()
    };
    out.sort();
    out.dedup();
    out
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
