//! What must hold of resources that come by xDS, whatever bytes they are: each is compiled or
//! refused, a refused one changes nothing, and what was compiled answers every question.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_route::http_manager::Normalised;
use mesh_route::{
    AuthzInput, Compiler, ConnInfo, FormatContext, HttpManager, PickRequest, RequestView,
    RouteDecision, Snapshot, Terminal,
};
use mesh_xds::any::{pack, unpack};
use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_xds::envoy::config::listener::v3 as listener;
use mesh_xds::envoy::config::route::v3::RouteConfiguration;
use mesh_xds::envoy::extensions::filters::http::router::v3::Router;
use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_xds::google::protobuf::Any;
use mesh_xds::type_url::{CLUSTER, LISTENER, PUSH_ORDER};

/// The first byte chooses the type of the resource that the others are.
pub(crate) fn resource(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    let type_url = PUSH_ORDER[usize::from(kind) % PUSH_ORDER.len()];
    let any = wanted(Any {
        type_url: type_url.to_owned(),
        value: bytes.to_vec().into(),
    });
    let mut compiler = prepared();
    let before = compiler.snapshot();
    // Without a name the resource's own counts.
    let changed = [(String::new(), "1".to_owned(), any.clone())];
    let applied = compiler.apply(type_url, &changed, &[]);
    if let Some(reason) = applied.error() {
        assert!(!reason.is_empty());
        assert_eq!(
            applied.snapshot.version, before.version,
            "refused, but not without effect"
        );
    } else {
        // What compiles can be shown by the admin interface, but for nested types unknown to us.
        let _ = mesh_xds::json::to_json(&any);
    }
    let again = compiler.apply(type_url, &changed, &[]);
    assert_eq!(again.rejected, applied.rejected);
    ask(&compiler.activate_warming());
}

/// The resource under the name by which [`prepared`] refers to one of its type.
fn wanted(any: Any) -> Any {
    if let Ok(mut routes) = unpack::<RouteConfiguration>(&any) {
        routes.name = "r".to_owned();
        pack(&routes)
    } else if let Ok(mut endpoints) = unpack::<ClusterLoadAssignment>(&any) {
        endpoints.cluster_name = "c".to_owned();
        pack(&endpoints)
    } else {
        any
    }
}

/// A compiler with what resources of other types refer to: a listener that wants routes named `r`
/// and a cluster that wants endpoints named `c`.
fn prepared() -> Compiler {
    let ads = || {
        Some(core::ConfigSource {
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
                core::AggregatedConfigSource {},
            )),
            ..Default::default()
        })
    };
    let router = hcm::HttpFilter {
        name: "router".to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(
            &Router::default(),
        ))),
        ..Default::default()
    };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(
            hcm::Rds {
                config_source: ads(),
                route_config_name: "r".to_owned(),
            },
        )),
        http_filters: vec![router],
        ..Default::default()
    };
    let filter = listener::Filter {
        name: "http".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&manager))),
    };
    let listener = listener::Listener {
        name: "base".to_owned(),
        address: address(),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..Default::default()
    };
    let cluster = cluster::Cluster {
        name: "c".to_owned(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: ads(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut compiler = Compiler::new();
    for (type_url, any) in [(LISTENER, pack(&listener)), (CLUSTER, pack(&cluster))] {
        let applied = compiler.apply(type_url, &[(String::new(), "0".to_owned(), any)], &[]);
        assert_eq!(applied.error(), None);
    }
    compiler
}

fn address() -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.9".to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(9)),
            ..Default::default()
        })),
    })
}

const REMOTE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);

/// Asks everything that a connection and a request ask.
fn ask(snapshot: &Snapshot) {
    for listener in snapshot.listeners() {
        for application_protocols in [&[][..], &[&b"istio"[..]], &[&b"http/1.1"[..], &b"h2"[..]]] {
            let connection = ConnInfo {
                destination: listener.address,
                source: REMOTE,
                server_name: Some("outbound_.9080_._.reviews.default.svc.cluster.local"),
                tls: !application_protocols.is_empty(),
                application_protocols,
            };
            let _ = listener.inspect(connection.destination);
            let _ = listener.select(&connection);
        }
        for chain in listener.chains() {
            match &chain.terminal {
                Terminal::Http(manager) => ask_manager(snapshot, manager),
                Terminal::Tcp(proxy) => {
                    let _ = (proxy.cluster(u64::MAX), proxy.hash(REMOTE));
                }
            }
        }
    }
    for cluster in snapshot.clusters() {
        for (random, hash) in [(0, None), (u64::MAX, Some(u64::MAX)), (1 << 40, Some(7))] {
            let _ = cluster.pick(&PickRequest {
                hash,
                random,
                original_destination: Some(REMOTE),
                ..Default::default()
            });
        }
    }
}

fn ask_manager(snapshot: &Snapshot, manager: &HttpManager) {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_static("user=jason; session=1"));
    headers.insert("end-user", HeaderValue::from_static("jason"));
    headers.insert(
        HeaderName::from_static("x-n"),
        HeaderValue::from_static("-9223372036854775808"),
    );
    for (authority, path) in [
        ("reviews:9080", "/reviews/1?q=%2F#f"),
        ("reviews.default.svc.cluster.local", "/"),
        ("[::1]:80", "/a/../b//c;x?y"),
        ("", "*"),
    ] {
        let path = match manager.path.apply(path) {
            Normalised::Changed(path) | Normalised::Redirect(path) => path,
            Normalised::Unchanged | Normalised::Reject => path.to_owned(),
        };
        let request = RequestView {
            method: "GET",
            path: &path,
            authority,
            scheme: "http",
            headers: &headers,
        };
        let _ = manager.authorize(&AuthzInput {
            direct_remote: REMOTE,
            remote: REMOTE.ip(),
            destination: REMOTE,
            server_name: None,
            principal: Some("spiffe://cluster.local/ns/default/sa/productpage"),
            tls: true,
            request: Some(&request),
        });
        let Some(table) = snapshot.route_table(manager) else {
            return;
        };
        for random in [0, u64::MAX, 1 << 40] {
            let _ = table.explain(&request, random);
            ask_route(manager, table.route(&request, random), &request, random);
        }
    }
}

fn ask_route(
    manager: &HttpManager,
    decision: RouteDecision<'_>,
    request: &RequestView<'_>,
    random: u64,
) {
    let matched = match decision {
        RouteDecision::Forward {
            matched,
            forward,
            cluster,
        } => {
            let _ = forward.timeouts(request.headers);
            let _ = forward.hash(request, REMOTE);
            let _ = forward.new_cookie(request, REMOTE);
            let _ = forward.rewritten_path(request);
            let fault = manager.fault(&matched);
            let _ = fault.map(|fault| fault.decide(request, &cluster.name, random));
            matched
        }
        RouteDecision::Redirect { matched, redirect } => {
            let _ = redirect.location(request);
            matched
        }
        RouteDecision::Direct { matched, .. } => matched,
        RouteDecision::RequireTls | RouteDecision::NotFound => return,
    };
    let context = FormatContext {
        method: Some(request.method),
        path: Some(request.path),
        downstream_remote: Some(REMOTE),
        request_headers: Some(request.headers),
        ..Default::default()
    };
    let mut headers = request.headers.clone();
    matched.mutate_request(&mut headers, &context);
    matched.mutate_response(&mut headers, &context);
}
