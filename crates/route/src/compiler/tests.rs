//! Warming, refusals, sharing, and a whole sidecar's configuration.

use std::sync::Arc;

use mesh_xds::any::pack;
use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::endpoint::v3 as endpoint;
use mesh_xds::envoy::config::listener::v3 as listener;
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::extensions::filters::http::router::v3::Router;
use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_xds::google::protobuf::{Any, BoolValue};
use mesh_xds::type_url;

use crate::cluster::PickRequest;
use crate::{Applied, Compiler, RequestView, RouteDecision, Snapshot, Terminal};

mod secrets;

const SERVICE: &str = "outbound|9080||reviews.default.svc.cluster.local";

fn resource(name: &str, any: Any) -> (String, String, Any) {
    (name.to_owned(), "1".to_owned(), any)
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

fn eds_cluster(name: &str) -> cluster::Cluster {
    cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        ..Default::default()
    }
}

fn endpoints(name: &str, ips: &[&str]) -> endpoint::ClusterLoadAssignment {
    let lb_endpoint = |ip: &&str| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: address(ip, 9080),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: ips.iter().map(lb_endpoint).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_listener(name: &str, ip: &str, port: u32, routes: &str) -> listener::Listener {
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(
            hcm::Rds {
                route_config_name: routes.to_owned(),
                ..Default::default()
            },
        )),
        http_filters: vec![hcm::HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(
                &Router::default(),
            ))),
            ..Default::default()
        }],
        ..Default::default()
    };
    listener::Listener {
        name: name.to_owned(),
        address: address(ip, port),
        bind_to_port: Some(BoolValue { value: false }),
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "http".to_owned(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn route_config(name: &str, cluster: &str) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: "any".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                    ..Default::default()
                }),
                action: Some(route::route::Action::Route(route::RouteAction {
                    cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                        cluster.to_owned(),
                    )),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn apply_cluster(compiler: &mut Compiler, config: &cluster::Cluster) -> Applied {
    compiler.apply(
        type_url::CLUSTER,
        &[resource(&config.name, pack(config))],
        &[],
    )
}

fn apply_endpoints(compiler: &mut Compiler, ips: &[&str]) -> Applied {
    compiler.apply(
        type_url::ENDPOINT,
        &[resource(SERVICE, pack(&endpoints(SERVICE, ips)))],
        &[],
    )
}

fn names<'a>(list: impl IntoIterator<Item = &'a Arc<str>>) -> Vec<&'a str> {
    list.into_iter().map(|name| &**name).collect()
}

/// What a request to the original destination comes to: the picked endpoint.
fn send(snapshot: &Snapshot, destination: &str) -> Option<String> {
    let listener = snapshot.outbound(destination.parse().unwrap())?;
    let chain = listener.chains().next()?;
    let Terminal::Http(manager) = &chain.terminal else {
        return None;
    };
    let headers = http::HeaderMap::new();
    let request = RequestView {
        method: "GET",
        path: "/",
        authority: "reviews:9080",
        scheme: "http",
        headers: &headers,
    };
    match snapshot.route_table(manager)?.route(&request, 0) {
        RouteDecision::Forward { cluster, .. } => {
            let picked = snapshot
                .cluster(&cluster.name)?
                .pick(&PickRequest::default())
                .ok()?;
            Some(picked.endpoint.address.to_string())
        }
        _ => None,
    }
}

#[test]
fn resources_warm_until_what_they_need_is_there() {
    let mut compiler = Compiler::new();
    let cluster = apply_cluster(&mut compiler, &eds_cluster(SERVICE));
    assert!(cluster.rejected.is_empty() && cluster.snapshot.cluster(SERVICE).is_none());
    let config = http_listener("0.0.0.0_9080", "0.0.0.0", 9080, "9080");
    compiler.apply(
        type_url::LISTENER,
        &[resource("0.0.0.0_9080", pack(&config))],
        &[],
    );
    let missing = compiler.missing();
    assert_eq!(
        (names(&missing.endpoints), names(&missing.routes)),
        (vec![SERVICE], vec!["9080"])
    );
    assert!(compiler.resources(type_url::LISTENER)[0].warming);
    apply_endpoints(&mut compiler, &["10.0.0.1"]);
    let routes = route_config("9080", SERVICE);
    let applied = compiler.apply(type_url::ROUTE, &[resource("9080", pack(&routes))], &[]);
    assert_eq!(
        send(&applied.snapshot, "10.96.0.9:9080").as_deref(),
        Some("10.0.0.1:9080")
    );
    assert!(compiler.missing().is_empty());
}

#[test]
fn warming_can_be_given_up() {
    let mut compiler = Compiler::new();
    apply_cluster(&mut compiler, &eds_cluster(SERVICE));
    assert!(compiler.activate_warming().cluster(SERVICE).is_some());
}

#[test]
fn endpoints_change_without_a_new_snapshot_and_keep_their_state() {
    let mut compiler = Compiler::new();
    apply_cluster(&mut compiler, &eds_cluster(SERVICE));
    let first = apply_endpoints(&mut compiler, &["10.0.0.1"]).snapshot;
    let cluster = Arc::clone(first.cluster(SERVICE).unwrap());
    let held = cluster.pick(&PickRequest::default()).unwrap();
    let second = apply_endpoints(&mut compiler, &["10.0.0.2", "10.0.0.1"]).snapshot;
    assert!(Arc::ptr_eq(&first, &second));
    let set = cluster.endpoints();
    assert_eq!(set.all().len(), 2);
    assert_eq!(set.all()[1].stats().active, 1, "known by address");
    drop(held);
    assert_eq!(set.all()[1].stats().active, 0);
}

#[test]
fn refused_resource_is_named_and_its_last_good_version_stays() {
    let mut compiler = Compiler::new();
    apply_cluster(&mut compiler, &eds_cluster(SERVICE));
    let before = apply_endpoints(&mut compiler, &["10.0.0.1"]).snapshot;
    let mut bad = eds_cluster(SERVICE);
    bad.health_checks.push(Default::default());
    let other = eds_cluster("other");
    let applied = compiler.apply(
        type_url::CLUSTER,
        &[
            resource(SERVICE, pack(&bad)),
            resource("other", pack(&other)),
        ],
        &[],
    );
    assert_eq!(
        applied.error().unwrap(),
        format!("{SERVICE}: health_checks: is not supported by this proxy")
    );
    assert!(Arc::ptr_eq(
        before.cluster(SERVICE).unwrap(),
        applied.snapshot.cluster(SERVICE).unwrap()
    ));
    assert!(
        compiler.wanted().endpoints.contains("other"),
        "the rest of the response is applied"
    );
    assert_eq!(compiler.refusals(type_url::CLUSTER).len(), 1);
    apply_cluster(&mut compiler, &eds_cluster(SERVICE));
    assert!(compiler.refusals(type_url::CLUSTER).is_empty());
}

#[test]
fn garbage_is_refused() {
    let mut compiler = Compiler::new();
    let garbage = Any {
        type_url: type_url::CLUSTER.to_owned(),
        value: bytes::Bytes::from_static(b"\xff\xff\xff"),
    };
    let applied = compiler.apply(type_url::CLUSTER, &[resource("c", garbage.clone())], &[]);
    assert!(
        applied
            .error()
            .unwrap()
            .starts_with("c: decode type.googleapis.com/")
    );
    let unknown = compiler.apply(
        "type.googleapis.com/no.Such",
        &[resource("x", garbage)],
        &[],
    );
    assert_eq!(unknown.rejected.len(), 1);
}

#[test]
fn unchanged_parts_are_shared_and_removals_take_effect() {
    let mut compiler = Compiler::new();
    let (a, b) = (route_config("a", "c"), route_config("b", "c"));
    for (port, name) in [(80, "a"), (81, "b")] {
        let config = http_listener(&format!("0.0.0.0_{port}"), "0.0.0.0", port, name);
        compiler.apply(
            type_url::LISTENER,
            &[resource(&config.name, pack(&config))],
            &[],
        );
    }
    let first = compiler
        .apply(
            type_url::ROUTE,
            &[resource("a", pack(&a)), resource("b", pack(&b))],
            &[],
        )
        .snapshot;
    let changed = route_config("b", "d");
    let second = compiler
        .apply(
            type_url::ROUTE,
            &[resource("a", pack(&a)), resource("b", pack(&changed))],
            &["b".to_owned()],
        )
        .snapshot;
    let table = |snapshot: &Snapshot, name: &str| {
        Arc::as_ptr(
            snapshot
                .route_tables()
                .find(|table| &*table.name == name)
                .unwrap(),
        )
    };
    assert_eq!(table(&first, "a"), table(&second, "a"));
    assert_ne!(table(&first, "b"), table(&second, "b"));
    let third = compiler
        .apply(type_url::LISTENER, &[], &["0.0.0.0_81".to_owned()])
        .snapshot;
    assert!(third.outbound("10.0.0.1:81".parse().unwrap()).is_none());
    assert_eq!(
        third.route_tables().count(),
        1,
        "routes go with the last listener that names them"
    );
}

#[test]
fn exact_address_beats_port_beats_virtual_outbound() {
    let mut compiler = Compiler::new();
    let list = [
        ("10.96.0.5_80", "10.96.0.5", 80),
        ("0.0.0.0_80", "0.0.0.0", 80),
        ("virtualOutbound", "0.0.0.0", 15001),
    ]
    .map(|(name, ip, port)| resource(name, pack(&http_listener(name, ip, port, "r"))));
    compiler.apply(type_url::LISTENER, &list, &[]);
    let snapshot = compiler
        .apply(
            type_url::ROUTE,
            &[resource("r", pack(&route_config("r", "c")))],
            &[],
        )
        .snapshot;
    for (destination, want) in [
        ("10.96.0.5:80", "10.96.0.5_80"),
        ("10.96.0.6:80", "0.0.0.0_80"),
        ("10.96.0.6:81", "virtualOutbound"),
    ] {
        let found = snapshot.outbound(destination.parse().unwrap()).unwrap();
        assert_eq!(&*found.name, want);
    }
    let clash = http_listener("clash", "0.0.0.0", 80, "r");
    let applied = compiler.apply(type_url::LISTENER, &[resource("clash", pack(&clash))], &[]);
    assert_eq!(
        applied.error().unwrap(),
        "clash: address: 0.0.0.0:80 is the address of listener \"0.0.0.0_80\""
    );
}
