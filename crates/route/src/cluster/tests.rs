//! Balancing, limits, outliers and what survives a new version.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::endpoint::v3 as endpoint;
use mesh_xds::google::protobuf::UInt32Value;

use crate::cluster::{Cluster, Limit, PickError, PickRequest};
use crate::conditions::derive;

mod outlier;

/// (address, weight, health, priority)
type Host = (&'static str, u32, core::HealthStatus, u32);

fn healthy(address: &'static str) -> Host {
    (address, 1, core::HealthStatus::Healthy, 0)
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn lb_endpoint(host: &Host) -> endpoint::LbEndpoint {
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: host.0.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
            ..Default::default()
        })),
    };
    endpoint::LbEndpoint {
        health_status: host.2.into(),
        load_balancing_weight: number(host.1),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(address),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn assignment(hosts: &[Host]) -> endpoint::ClusterLoadAssignment {
    let mut by_priority: BTreeMap<u32, Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for host in hosts {
        by_priority
            .entry(host.3)
            .or_default()
            .push(lb_endpoint(host));
    }
    endpoint::ClusterLoadAssignment {
        endpoints: by_priority
            .into_iter()
            .map(|(priority, lb_endpoints)| endpoint::LocalityLbEndpoints {
                priority,
                lb_endpoints,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn config(policy: LbPolicy, hosts: &[Host]) -> cluster::Cluster {
    cluster::Cluster {
        name: "outbound|80||a.default.svc.cluster.local".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        lb_policy: policy.into(),
        load_assignment: Some(assignment(hosts)),
        ..Default::default()
    }
}

fn build(config: cluster::Cluster, before: Option<&Cluster>) -> Cluster {
    let shared = before.map(|before| Arc::clone(&before.shared));
    let compiled = crate::compile::cluster::cluster(config, shared).unwrap();
    compiled.start(before, None);
    compiled
}

fn compiled(policy: LbPolicy, hosts: &[Host]) -> Cluster {
    build(config(policy, hosts), None)
}

fn pick(cluster: &Cluster, hash: Option<u64>, random: u64) -> String {
    let request = PickRequest {
        hash,
        random,
        ..Default::default()
    };
    let picked = cluster.pick(&request).unwrap();
    picked.endpoint.address.ip().to_string()
}

fn counts(cluster: &Cluster, picks: u64, hash: fn(u64) -> Option<u64>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for at in 0..picks {
        *counts
            .entry(pick(cluster, hash(at), derive(at, 1)))
            .or_insert(0) += 1;
    }
    counts
}

#[test]
fn round_robin_follows_weights_smoothly() {
    let mut hosts = [
        healthy("10.0.0.1"),
        healthy("10.0.0.2"),
        healthy("10.0.0.3"),
    ];
    hosts[0].1 = 5;
    let cluster = compiled(LbPolicy::RoundRobin, &hosts);
    let order: Vec<String> = (0..7).map(|at| pick(&cluster, None, at)).collect();
    let last: Vec<&str> = order.iter().map(|address| &address[7..]).collect();
    assert_eq!(last, ["1", "1", "2", "1", "3", "1", "1"]);
}

#[test]
fn random_choices_are_even() {
    let hosts = [
        healthy("10.0.0.1"),
        healthy("10.0.0.2"),
        healthy("10.0.0.3"),
        healthy("10.0.0.4"),
    ];
    for policy in [LbPolicy::Random, LbPolicy::LeastRequest] {
        let counts = counts(&compiled(policy, &hosts), 8000, |_| None);
        assert!(
            counts.values().all(|count| (1800..2200).contains(count)),
            "{policy:?} {counts:?}"
        );
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let cluster = compiled(
        LbPolicy::LeastRequest,
        &[healthy("10.0.0.1"), healthy("10.0.0.2")],
    );
    let busy: Vec<_> = (0..)
        .map(|random| {
            cluster
                .pick(&PickRequest {
                    random: derive(random, 9),
                    ..Default::default()
                })
                .unwrap()
        })
        .filter(|picked| picked.endpoint.address.ip().to_string() == "10.0.0.1")
        .take(10)
        .collect();
    let counts = counts(&cluster, 1000, |_| None);
    assert!(counts["10.0.0.2"] > 700, "{counts:?}");
    assert_eq!(busy[0].endpoint.stats().active, 10);
    drop(busy);
    assert!(
        cluster
            .endpoints()
            .all()
            .iter()
            .all(|endpoint| endpoint.stats().active == 0)
    );
}

#[test]
fn consistent_hashing_disturbs_few() {
    let all: Vec<Host> = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]
        .map(healthy)
        .to_vec();
    for policy in [LbPolicy::RingHash, LbPolicy::Maglev] {
        let (before, after) = (compiled(policy, &all), compiled(policy, &all[..4]));
        let hash = |at: u64| derive(at, 3);
        let shares = counts(&before, 10_000, |at| Some(derive(at, 3)));
        assert!(
            shares.values().all(|count| (1400..2700).contains(count)),
            "{policy:?} {shares:?}"
        );
        let moved = (0..10_000)
            .filter(|at| {
                let was = pick(&before, Some(hash(*at)), 0);
                was != "10.0.0.5" && was != pick(&after, Some(hash(*at)), 0)
            })
            .count();
        // The ring keeps its size, so that four endpoints get more entries each than five did
        // (256, not 205): 51 / 256 of what stayed may move. Maglev moves a few percent.
        let most = if policy == LbPolicy::RingHash {
            1600
        } else {
            600
        };
        assert!(moved <= most, "{policy:?} moved {moved}");
    }
}

#[test]
fn ring_is_built_as_envoys() {
    // Entries of one host in a ring of 1024: xxh64("10.0.0.1:80_0"), ... A hash equal to an entry hits it.
    let cluster = compiled(
        LbPolicy::RingHash,
        &[healthy("10.0.0.1"), healthy("10.0.0.2")],
    );
    for (key, want) in [
        ("10.0.0.1:80_7", "10.0.0.1"),
        ("10.0.0.2:80_511", "10.0.0.2"),
    ] {
        let hash = xxhash_rust::xxh64::xxh64(key.as_bytes(), 0);
        assert_eq!(pick(&cluster, Some(hash), 0), want);
    }
}

#[test]
fn lower_priority_takes_over_as_health_falls() {
    let unhealthy = |address| (address, 1, core::HealthStatus::Unhealthy, 0);
    let spare = |address| (address, 1, core::HealthStatus::Healthy, 1);
    let share = |hosts: &[Host]| counts(&compiled(LbPolicy::RoundRobin, hosts), 1000, |_| None);
    let all = share(&[healthy("10.0.0.1"), healthy("10.0.0.2"), spare("10.0.1.1")]);
    assert!(!all.contains_key("10.0.1.1"), "{all:?}");
    // Half healthy: 50 % * 1.4 = 70 % of the load stays.
    let half = share(&[
        healthy("10.0.0.1"),
        unhealthy("10.0.0.2"),
        spare("10.0.1.1"),
    ]);
    assert!((240..360).contains(&half["10.0.1.1"]), "{half:?}");
    let none = share(&[unhealthy("10.0.0.1"), spare("10.0.1.1")]);
    assert_eq!(none["10.0.1.1"], 1000);
}

#[test]
fn panic_uses_all_and_can_be_switched_off() {
    let hosts = [
        ("10.0.0.1", 1, core::HealthStatus::Unhealthy, 0),
        ("10.0.0.2", 1, core::HealthStatus::Unhealthy, 0),
    ];
    assert_eq!(
        counts(&compiled(LbPolicy::RoundRobin, &hosts), 10, |_| None).len(),
        2
    );
    let mut off = config(LbPolicy::RoundRobin, &hosts);
    off.common_lb_config = Some(cluster::cluster::CommonLbConfig {
        healthy_panic_threshold: Some(Default::default()),
        ..Default::default()
    });
    let none = build(off, None).pick(&PickRequest::default()).unwrap_err();
    assert_eq!(none, PickError::NoHealthy);
    let empty = compiled(LbPolicy::RoundRobin, &[])
        .pick(&PickRequest::default())
        .unwrap_err();
    assert_eq!(empty, PickError::Empty);
}

#[test]
fn retries_avoid_tried_endpoints() {
    let cluster = compiled(
        LbPolicy::LeastRequest,
        &[healthy("10.0.0.1"), healthy("10.0.0.2")],
    );
    let avoid = ["10.0.0.1:80".parse().unwrap()];
    let pick = |random| {
        let request = PickRequest {
            avoid: &avoid,
            avoid_attempts: 5,
            random,
            ..Default::default()
        };
        cluster.pick(&request).unwrap()
    };
    // The dead one has the least load.
    let _busy = pick(1);
    for random in 0..100 {
        let picked = pick(derive(random, 2));
        assert_eq!(picked.endpoint.address.ip().to_string(), "10.0.0.2");
    }
}

#[test]
fn limits_are_released_counted_and_survive_a_new_version() {
    let mut with_limit = config(LbPolicy::RoundRobin, &[healthy("10.0.0.1")]);
    with_limit.circuit_breakers = Some(cluster::CircuitBreakers {
        thresholds: vec![cluster::circuit_breakers::Thresholds {
            max_requests: number(1),
            ..Default::default()
        }],
        ..Default::default()
    });
    let first = build(with_limit.clone(), None);
    let held = first.acquire(Limit::Requests).unwrap();
    let second = build(with_limit, Some(&first));
    let overflow = second.acquire(Limit::Requests).unwrap_err();
    assert_eq!(overflow.to_string(), "circuit breaker open: Requests at 1");
    drop(held);
    assert!(second.acquire(Limit::Requests).is_ok());
    assert_eq!(
        (
            second.overflows(Limit::Requests),
            second.in_use(Limit::Requests)
        ),
        (1, 0)
    );
}

#[test]
fn names_are_resolved_by_the_caller() {
    let mut config = config(LbPolicy::RoundRobin, &[healthy("db.example.com")]);
    config.cluster_discovery_type =
        Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
    let cluster = build(config.clone(), None);
    assert_eq!(
        cluster.pick(&PickRequest::default()).unwrap_err(),
        PickError::Empty
    );
    let target = cluster.dns_targets()[0].clone();
    let addresses: Vec<IpAddr> = vec!["10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap()];
    cluster.set_resolved(&target, &addresses);
    assert_eq!(counts(&cluster, 10, |_| None).len(), 2);
    assert_eq!(
        cluster.endpoints().all()[0].hostname.as_deref(),
        Some("db.example.com")
    );
    let next = build(config, Some(&cluster));
    assert_eq!(
        next.endpoints().all().len(),
        2,
        "a new version knows the addresses"
    );
}

#[test]
fn original_destination_is_where_it_goes() {
    let mut config = config(LbPolicy::ClusterProvided, &[]);
    config.name = "inbound|9080||".to_owned();
    config.cluster_discovery_type = Some(ClusterDiscoveryType::Type(
        DiscoveryType::OriginalDst.into(),
    ));
    config.upstream_bind_config = Some(core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: "127.0.0.6".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let cluster = build(config, None);
    assert_eq!(cluster.bind_source, Some("127.0.0.6".parse().unwrap()));
    assert_eq!(
        cluster.pick(&PickRequest::default()).unwrap_err(),
        PickError::NoDestination
    );
    let request = PickRequest {
        original_destination: Some("10.0.0.7:9080".parse().unwrap()),
        ..Default::default()
    };
    let (first, second) = (
        cluster.pick(&request).unwrap(),
        cluster.pick(&request).unwrap(),
    );
    assert_eq!(first.endpoint.address, "10.0.0.7:9080".parse().unwrap());
    assert!(Arc::ptr_eq(&first.endpoint, &second.endpoint));
    assert_eq!(first.endpoint.stats().active, 2);
}

#[test]
fn labels_come_from_name_and_metadata() {
    let service = compiled(LbPolicy::RoundRobin, &[]).service;
    assert_eq!(
        (&*service.host, service.port),
        ("a.default.svc.cluster.local", 80)
    );
    let mut passthrough = config(LbPolicy::RoundRobin, &[]);
    passthrough.name = "PassthroughCluster".to_owned();
    assert_eq!(
        &*build(passthrough, None).service.name,
        "PassthroughCluster"
    );
    let workload = crate::cluster::Workload::parse("reviews-v1;default;reviews;v1;Kubernetes");
    assert_eq!(
        (&*workload.canonical_name, &*workload.cluster),
        ("reviews", "Kubernetes")
    );
    assert_eq!(&*crate::cluster::Workload::parse("a;").namespace, "unknown");
}
