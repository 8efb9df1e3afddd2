//! The request path: route lookup, authorization, endpoint pick. And what the control thread does
//! when configuration comes: decode, compile, publish.
//!
//! Targets (docs/performance.md): 10,000 routes of one host under 1 us, 10,000 simple rules
//! under 2 us, a pick well under 100 ns.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use mesh_route::{AuthzInput, Compiler, HttpManager, PickRequest, RequestView, Snapshot, Terminal};
use mesh_xds::any::{pack, unpack};
use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::endpoint::v3 as endpoint;
use mesh_xds::envoy::config::listener::v3 as listener;
use mesh_xds::envoy::config::rbac::v3 as rbac;
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::extensions::filters::http::rbac::v3 as http_rbac;
use mesh_xds::envoy::extensions::filters::http::router::v3::Router;
use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_xds::envoy::r#type::matcher::v3 as matcher;
use mesh_xds::google::protobuf::Any;
use mesh_xds::type_url;

fn exact(text: String) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(text)),
        ..Default::default()
    }
}

fn address(ip: &str, port: u32) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: ip.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    })
}

fn route_at(specifier: route::route_match::PathSpecifier) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(specifier),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                "c".to_owned(),
            )),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Alternately exact and prefix routes, a catch-all last.
fn routes(count: usize) -> route::RouteConfiguration {
    use route::route_match::PathSpecifier;
    let mut list: Vec<route::Route> = (1..count)
        .map(|at| match at % 2 {
            0 => route_at(PathSpecifier::Path(format!("/api/v1/service-{at}/items"))),
            _ => route_at(PathSpecifier::Prefix(format!("/api/v2/service-{at}/"))),
        })
        .collect();
    list.push(route_at(PathSpecifier::Prefix("/".to_owned())));
    route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost {
            name: "h".to_owned(),
            domains: vec!["reviews.default.svc.cluster.local".to_owned()],
            routes: list,
            ..Default::default()
        }],
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

fn policies(count: usize) -> http_rbac::Rbac {
    let one = |at: usize| {
        let path = matcher::PathMatcher {
            rule: Some(matcher::path_matcher::Rule::Path(exact(format!(
                "/path-{at}"
            )))),
        };
        let peer = rbac::principal::Authenticated {
            principal_name: Some(exact(format!(
                "spiffe://cluster.local/ns/n/sa/account-{at}"
            ))),
        };
        let policy = rbac::Policy {
            permissions: vec![rbac::Permission {
                rule: Some(rbac::permission::Rule::UrlPath(path)),
            }],
            principals: vec![rbac::Principal {
                identifier: Some(rbac::principal::Identifier::Authenticated(peer)),
            }],
            ..Default::default()
        };
        (format!("policy-{at:06}"), policy)
    };
    http_rbac::Rbac {
        rules: Some(rbac::Rbac {
            policies: (0..count).map(one).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn one(name: &str, any: Any) -> [(String, String, Any); 1] {
    [(name.to_owned(), "1".to_owned(), any)]
}

fn snapshot(route_count: usize, policy_count: usize) -> std::sync::Arc<Snapshot> {
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
            routes(route_count),
        )),
        http_filters: vec![
            filter("rbac", pack(&policies(policy_count))),
            filter("router", pack(&Router::default())),
        ],
        ..Default::default()
    };
    let config = listener::Listener {
        name: "virtualOutbound".to_owned(),
        address: address("0.0.0.0", 15001),
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "http".to_owned(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut compiler = Compiler::new();
    let applied = compiler.apply(
        type_url::LISTENER,
        &one("virtualOutbound", pack(&config)),
        &[],
    );
    assert_eq!(applied.error(), None);
    applied.snapshot
}

fn manager(snapshot: &Snapshot) -> &HttpManager {
    let listener = snapshot.outbound("10.0.0.1:80".parse().unwrap()).unwrap();
    match &listener.chains().next().unwrap().terminal {
        Terminal::Http(manager) => manager,
        Terminal::Tcp(_) => panic!("an HTTP listener"),
    }
}

fn request<'a>(headers: &'a HeaderMap, path: &'a str) -> RequestView<'a> {
    RequestView {
        method: "GET",
        path,
        authority: "reviews.default.svc.cluster.local:9080",
        scheme: "http",
        headers,
    }
}

fn bench_routes(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    for count in [1, 100, 10_000] {
        let snapshot = snapshot(count, 1);
        let table = snapshot.route_table(manager(&snapshot)).unwrap();
        let last = count.saturating_sub(2);
        for (kind, path) in [
            ("exact", format!("/api/v1/service-{last}/items?x=1")),
            ("prefix", format!("/api/v2/service-{}/items/7", last + 1)),
            ("rest", "/no/such/path".to_owned()),
        ] {
            let view = request(&headers, &path);
            criterion.bench_function(&format!("route/{count}/{kind}"), |bencher| {
                bencher.iter(|| black_box(table.route(black_box(&view), 7)));
            });
        }
    }
}

fn bench_authz(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let snapshot = snapshot(1, 10_000);
    let manager = manager(&snapshot);
    for (kind, account, path) in [
        ("hit", "account-9999", "/path-9999"),
        ("miss", "account-9999", "/path-1"),
        ("stranger", "nobody", "/"),
    ] {
        let view = request(&headers, path);
        let principal = format!("spiffe://cluster.local/ns/n/sa/{account}");
        let input = AuthzInput {
            direct_remote: "10.0.0.1:5000".parse().unwrap(),
            remote: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:9080".parse().unwrap(),
            server_name: None,
            principal: Some(&principal),
            tls: true,
            request: Some(&view),
        };
        criterion.bench_function(&format!("rbac/10000/{kind}"), |bencher| {
            bencher.iter(|| black_box(manager.authorize(black_box(&input))));
        });
    }
}

fn assignment(cluster: &str, endpoints: u32) -> endpoint::ClusterLoadAssignment {
    let endpoints = (1..=endpoints).map(|at| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: address(&format!("10.0.0.{at}"), 80),
                ..Default::default()
            },
        )),
        ..Default::default()
    });
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: endpoints.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn bench_pick(criterion: &mut Criterion) {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
    let assignment = assignment("c", 100);
    for policy in [
        LbPolicy::RoundRobin,
        LbPolicy::LeastRequest,
        LbPolicy::Random,
        LbPolicy::RingHash,
        LbPolicy::Maglev,
    ] {
        let config = cluster::Cluster {
            name: "c".to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
            lb_policy: policy.into(),
            load_assignment: Some(assignment.clone()),
            ..Default::default()
        };
        let mut compiler = Compiler::new();
        let applied = compiler.apply(type_url::CLUSTER, &one("c", pack(&config)), &[]);
        assert_eq!(applied.error(), None);
        let mut random = 0_u64;
        criterion.bench_function(&format!("pick/{policy:?}/100"), |bencher| {
            bencher.iter(|| {
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let request = PickRequest {
                    hash: Some(random),
                    random,
                    ..Default::default()
                };
                let cluster = applied.snapshot.cluster("c").unwrap();
                black_box(cluster.pick(&request).unwrap())
            });
        });
    }
}

/// Services of a mesh, as many as the targets name.
const SERVICES: usize = 1000;

fn host(at: usize) -> String {
    format!("service-{at}.default.svc.cluster.local")
}

fn eds_cluster(at: usize) -> (String, String, Any) {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    let name = format!("outbound|9080||{}", host(at));
    let ads = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    let config = cluster::Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(core::ConfigSource {
                config_source_specifier: Some(ads),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    (name, "1".to_owned(), pack(&config))
}

/// A virtual host for each service; `version` makes two of them differ.
fn hosts(version: usize) -> Any {
    let virtual_hosts = (0..SERVICES).map(|at| route::VirtualHost {
        name: host(at),
        domains: vec![host(at), format!("10.96.{}.{}", at / 250, at % 250)],
        routes: routes(1 + version).virtual_hosts.remove(0).routes,
        ..Default::default()
    });
    pack(&route::RouteConfiguration {
        name: "9080".to_owned(),
        virtual_hosts: virtual_hosts.collect(),
        ..Default::default()
    })
}

fn bench_configuration(criterion: &mut Criterion) {
    let clusters: Vec<_> = (0..SERVICES).map(eds_cluster).collect();
    criterion.bench_function("decode/1000 clusters", |bencher| {
        let decode = |any| unpack::<cluster::Cluster>(any).unwrap();
        bencher.iter(|| {
            clusters
                .iter()
                .map(|(_, _, any)| decode(any).name.len())
                .sum::<usize>()
        });
    });
    criterion.bench_function("apply/1000 clusters", |bencher| {
        bencher.iter_batched(
            Compiler::new,
            |mut compiler| {
                compiler.apply(type_url::CLUSTER, &clusters, &[]);
                compiler
            },
            BatchSize::PerIteration,
        );
    });
    let mut compiler = Compiler::new();
    compiler.apply(type_url::CLUSTER, &clusters, &[]);
    let name = &clusters[7].0;
    let sizes = [10, 11].map(|endpoints| one(name, pack(&assignment(name, endpoints))));
    let tables = [0, 1].map(|version| one("9080", hosts(version)));
    for (what, kind, versions) in [
        (
            "apply/endpoints of 1 in 1000 clusters",
            type_url::ENDPOINT,
            sizes,
        ),
        ("apply/1000 virtual hosts", type_url::ROUTE, tables),
    ] {
        let mut turn = versions.iter().cycle();
        criterion.bench_function(what, |bencher| {
            bencher.iter(|| {
                let applied = compiler.apply(kind, turn.next().unwrap(), &[]);
                assert!(applied.rejected.is_empty());
            });
        });
    }
}

criterion_group!(
    benches,
    bench_routes,
    bench_authz,
    bench_pick,
    bench_configuration
);
criterion_main!(benches);
