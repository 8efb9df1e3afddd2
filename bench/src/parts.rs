//! Parts of the engine on which targets rest: route lookup and authorization. The crates' own criterion
//! benches measure more.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, bail};
use http::HeaderMap;
use mesh_route::{AuthzInput, Compiler, HttpManager, RequestView, Snapshot, Terminal};
use serde_json::{Value, json};

use crate::results::{Part, median};

/// The lookup of a route.
pub(crate) const LOOKUP: &str = "route lookup among 10,000 routes of one host";
/// A decision.
pub(crate) const AUTHORIZATION: &str = "authorization with 10,000 rules";

const MANY: usize = 10_000;
const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions.filters";
const HOST: &str = "reviews.default.svc.cluster.local";

const BATCHES: usize = 300;
const BATCH: u32 = 1000;

/// Measures both; of the cases of each, the most expensive one counts.
///
/// # Errors
/// When the engine refuses the configuration.
pub(crate) fn measure() -> anyhow::Result<Vec<Part>> {
    let headers = HeaderMap::new();
    let view = |path| RequestView {
        method: "GET",
        path,
        authority: "reviews.default.svc.cluster.local:9080",
        scheme: "http",
        headers: &headers,
    };
    let many_routes = snapshot(&routes(MANY), &[])?;
    let of = manager(&many_routes)?;
    let table = many_routes.route_table(of).context("no route table")?;
    let paths = [
        "/api/v1/service-9998/items?x=1",
        "/api/v2/service-9999/items/7",
        "/no/such/path",
    ];
    let lookups = paths.map(|path| {
        let view = view(path);
        time(|| {
            black_box(table.route(black_box(&view), 7));
        })
    });

    let many_rules = snapshot(&routes(1), &policies(MANY))?;
    let of = manager(&many_rules)?;
    let callers = [
        ("account-9999", "/path-9999"),
        ("account-9999", "/path-1"),
        ("nobody", "/"),
    ];
    let decisions = callers.map(|(account, path)| {
        let view = view(path);
        let principal = format!("spiffe://cluster.local/ns/n/sa/{account}");
        let input = AuthzInput {
            direct_remote: ([10, 0, 0, 1], 5000).into(),
            remote: [10, 0, 0, 1].into(),
            destination: ([10, 0, 0, 2], 9080).into(),
            server_name: None,
            principal: Some(&principal),
            tls: true,
            request: Some(&view),
        };
        time(|| {
            black_box(of.authorize(black_box(&input)));
        })
    });
    Ok(vec![
        worst(LOOKUP, &lookups),
        worst(AUTHORIZATION, &decisions),
    ])
}

fn worst(name: &str, cases: &[f64]) -> Part {
    Part {
        name: name.to_owned(),
        nanoseconds: cases.iter().copied().fold(0.0, f64::max),
    }
}

/// Nanoseconds of one call.
fn time(mut call: impl FnMut()) -> f64 {
    let mut batch = || {
        let start = Instant::now();
        for _ in 0..BATCH {
            call();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    };
    batch();
    median((0..BATCHES).map(|_| batch()).collect()).unwrap_or_default()
}

/// Alternately exact and prefix routes, a catch-all last.
fn routes(count: usize) -> Vec<Value> {
    let path = |at: usize| match at % 2 {
        0 => json!({"path": format!("/api/v1/service-{at}/items")}),
        _ => json!({"prefix": format!("/api/v2/service-{at}/")}),
    };
    let named = (1..count).map(path);
    named
        .chain([json!({"prefix": "/"})])
        .map(|matched| json!({"match": matched, "route": {"cluster": "c"}}))
        .collect()
}

/// Policies that each name one path and one caller.
fn policies(count: usize) -> Vec<(String, Value)> {
    let policy = |at: usize| {
        let account = format!("spiffe://cluster.local/ns/n/sa/account-{at}");
        let policy = json!({
            "permissions": [{"url_path": {"path": {"exact": format!("/path-{at}")}}}],
            "principals": [{"authenticated": {"principal_name": {"exact": account}}}],
        });
        (format!("policy-{at:06}"), policy)
    };
    (0..count).map(policy).collect()
}

fn snapshot(
    routes: &[Value],
    policies: &[(String, Value)],
) -> anyhow::Result<std::sync::Arc<Snapshot>> {
    let mut filters = Vec::new();
    if !policies.is_empty() {
        let policies: serde_json::Map<String, Value> = policies.iter().cloned().collect();
        filters.push(json!({"name": "rbac", "typed_config": {
            "@type": format!("{EXTENSIONS}.http.rbac.v3.RBAC"),
            "rules": {"policies": policies},
        }}));
    }
    filters.push(json!({"name": "router", "typed_config": {
        "@type": format!("{EXTENSIONS}.http.router.v3.Router"),
    }}));
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "virtualOutbound",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": format!("{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager"),
            "http_filters": filters,
            "route_config": {
                "ignore_port_in_host_matching": true,
                "virtual_hosts": [{"name": "h", "domains": [HOST], "routes": routes}],
            },
        }}]}],
    });
    let any = mesh_xds::json::from_json(&listener).context("make a listener")?;
    let resource = ("virtualOutbound".to_owned(), "1".to_owned(), any);
    let applied = Compiler::new().apply(mesh_xds::type_url::LISTENER, &[resource], &[]);
    if let Some(error) = applied.error() {
        bail!("the engine refuses the configuration: {error}");
    }
    Ok(applied.snapshot)
}

fn manager(snapshot: &Snapshot) -> anyhow::Result<&HttpManager> {
    let listener = snapshot.outbound(([10, 0, 0, 1], 80).into());
    let chain = listener.and_then(|listener| listener.chains().next());
    match &chain.context("no listener")?.terminal {
        Terminal::Http(manager) => Ok(manager),
        Terminal::Tcp(_) => bail!("the listener is not HTTP"),
    }
}
