use std::time::Duration;

use super::{refuse_each, spec};
use crate::destination_rule::*;
use crate::tls::{ClientTls, ServerVerification};
use crate::{Percent, PortNumber};

#[test]
fn policies_are_read() {
    let rule = spec!(
        DestinationRule,
        "host: reviews\ntrafficPolicy:\n  loadBalancer: {simple: LEAST_CONN}\n  connectionPool:\n    tcp: {maxConnections: 100, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s}}\n    http: {http2MaxRequests: 1000, maxRequestsPerConnection: 10, idleTimeout: 1m}\n  outlierDetection: {consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 50}\n  tls: {mode: ISTIO_MUTUAL}\nsubsets:\n- {name: v1, labels: {version: v1}}"
    );
    let settings = &rule.traffic_policy.settings;
    assert_eq!(settings.load_balancer, Some(LoadBalancer::LeastRequest));
    let pool = settings.connection_pool.as_ref().unwrap();
    assert_eq!(pool.tcp.connect_timeout, Some(Duration::from_millis(30)));
    assert_eq!(pool.http.max_requests_per_connection, Some(10));
    let outlier = settings.outlier_detection.as_ref().unwrap();
    assert_eq!(outlier.max_ejection_percent, Percent::new(50.0));
    assert!(rule.subset(&"v1".parse().unwrap()).is_some());
}

#[test]
fn zero_means_not_set_for_limits_and_off_for_outliers() {
    let rule = spec!(
        DestinationRule,
        "host: a\ntrafficPolicy:\n  connectionPool: {tcp: {maxConnections: 0}}\n  outlierDetection: {consecutive5xxErrors: 0}"
    );
    let settings = rule.traffic_policy.settings;
    assert_eq!(settings.connection_pool.unwrap().tcp.max_connections, None);
    assert_eq!(
        settings.outlier_detection.unwrap().consecutive_5xx_errors,
        Some(0)
    );
}

#[test]
fn consistent_hashes_are_read() {
    let hash = |yaml: &str| {
        let rule = spec!(
            DestinationRule,
            &format!("host: a\ntrafficPolicy: {{loadBalancer: {{consistentHash: {yaml}}}}}")
        );
        match rule.traffic_policy.settings.load_balancer {
            Some(LoadBalancer::ConsistentHash(hash)) => hash,
            other => panic!("{other:?}"),
        }
    };
    let ring = HashAlgorithm::RingHash {
        minimum_ring_size: 1024,
    };
    assert_eq!(
        hash("{useSourceIp: true}"),
        ConsistentHash {
            key: HashKey::SourceIp,
            algorithm: ring
        }
    );
    assert_eq!(
        hash("{httpHeaderName: x, maglev: {}}").algorithm,
        HashAlgorithm::Maglev { table_size: 65537 }
    );
    let cookie = HashKey::Cookie {
        name: "u".into(),
        path: None,
        ttl: Some(Duration::ZERO),
    };
    assert_eq!(hash("{httpCookie: {name: u, ttl: 0s}}").key, cookie);
}

#[test]
fn port_levels_replace_and_subsets_override_part_by_part() {
    let rule = spec!(
        DestinationRule,
        "host: a\ntrafficPolicy:\n  loadBalancer: {simple: RANDOM}\n  tls: {mode: DISABLE}\n  portLevelSettings:\n  - {port: {number: 1}, tls: {mode: ISTIO_MUTUAL}}\nsubsets:\n- name: v1\n  trafficPolicy:\n    loadBalancer: {simple: ROUND_ROBIN}\n    portLevelSettings:\n    - {port: {number: 2}, loadBalancer: {simple: PASSTHROUGH}}"
    );
    let port = |number| PortNumber::new(number).unwrap();
    let v1 = "v1".parse().unwrap();
    let of = |subset, number| {
        let settings = rule.policy(subset, port(number));
        (
            settings.load_balancer,
            settings.tls.map(|tls| tls == ClientTls::Disable),
        )
    };
    assert_eq!(of(None, 9), (Some(LoadBalancer::Random), Some(true)));
    assert_eq!(of(None, 1), (None, Some(false)));
    assert_eq!(
        of(Some(&v1), 9),
        (Some(LoadBalancer::RoundRobin), Some(true))
    );
    assert_eq!(
        of(Some(&v1), 1),
        (Some(LoadBalancer::RoundRobin), Some(false))
    );
    assert_eq!(of(Some(&v1), 2), (Some(LoadBalancer::Passthrough), None));
}

#[test]
fn tls_verifies_the_server_by_default() {
    let rule = spec!(
        DestinationRule,
        "host: a.com\ntrafficPolicy: {tls: {mode: SIMPLE, sni: a.com}}"
    );
    let Some(ClientTls::Simple(tls)) = rule.traffic_policy.settings.tls else {
        panic!()
    };
    assert_eq!(tls.verification, ServerVerification::SystemRoots);
    assert_eq!(tls.sni.as_deref(), Some("a.com"));
}

const WHAT_IS_REFUSED: &[(&str, &str)] = &[
    (
        "subsets: []",
        "spec.host: required, but missing; name the service",
    ),
    (
        "host: a\ntrafficPolicy: {}",
        "spec.trafficPolicy: says nothing; set one of loadBalancer, connectionPool, outlierDetection, tls",
    ),
    (
        "host: a\ntrafficPolicy: {tunnel: {targetHost: a}, tls: {mode: DISABLE}}",
        "spec.trafficPolicy.tunnel: not implemented yet; remove it",
    ),
    (
        "host: a\ntrafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}",
        "spec.trafficPolicy.loadBalancer.simple: \"ROUNDROBIN\" is not a value of this field; did you mean ROUND_ROBIN?",
    ),
    (
        "host: a\ntrafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash: cannot be set together with simple; keep one of simple, consistentHash",
    ),
    (
        "host: a\ntrafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 5s}}}",
        "spec.trafficPolicy.loadBalancer.warmup: not implemented yet; new endpoints get their full share at once",
    ),
    (
        "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 100}, useSourceIp: true}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 100 is not a prime number; use for example 65537",
    ),
    (
        "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {ringHash: {}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash: nothing to hash; set one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
    ),
    (
        "host: a\ntrafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
        "spec.trafficPolicy.connectionPool.http.useClientProtocol: contradicts h2UpgradePolicy UPGRADE; remove one of the two",
    ),
    (
        "host: a\ntrafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}",
        "spec.trafficPolicy.connectionPool.tcp.connectTimeout: \"0s\" is shorter than 1ms",
    ),
    (
        "host: a\ntrafficPolicy: {outlierDetection: {consecutiveErrors: 5}}",
        "spec.trafficPolicy.outlierDetection.consecutiveErrors: not implemented yet; use consecutive5xxErrors or consecutiveGatewayErrors",
    ),
    (
        "host: a\ntrafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}",
        "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: has no effect without splitExternalLocalOriginErrors; set splitExternalLocalOriginErrors: true, or remove it",
    ),
    (
        "host: a\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
        "spec.trafficPolicy.outlierDetection.maxEjectionPercent: 101 is not a whole number from 0 to 100",
    ),
    (
        "host: a\ntrafficPolicy: {tls: {sni: a}}",
        "spec.trafficPolicy.tls.sni: cannot be set with mode DISABLE (the default); set mode, or remove it",
    ),
    (
        "host: a\ntrafficPolicy: {tls: {mode: MUTUAL, privateKey: k}}",
        "spec.trafficPolicy.tls.clientCertificate: required, but missing; mode MUTUAL needs clientCertificate and privateKey, or credentialName",
    ),
    (
        "host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: f}}",
        "spec.trafficPolicy.tls.caCertificates: cannot be set with mode ISTIO_MUTUAL, which uses the mesh's certificates; remove it",
    ),
    (
        "host: a\ntrafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: f}}",
        "spec.trafficPolicy.tls.caCertificates: has no effect with insecureSkipVerify; remove one of the two",
    ),
    (
        "host: a\nsubsets: [{name: v1}, {name: v1}]",
        "spec.subsets[1].name: subset v1 is defined twice; rename or remove one",
    ),
    (
        "host: a\nworkloadSelector: {matchLabels: {app: x}}\nexportTo: [\"*\"]",
        "spec.exportTo: a rule with a workloadSelector is for its own namespace only; write \".\"",
    ),
    (
        "host: a\nworkloadSelector: {labels: {app: x}}",
        "spec.workloadSelector.labels: unknown field; did you mean \"matchLabels\"?",
    ),
];

#[test]
fn what_is_refused() {
    refuse_each("DestinationRule", WHAT_IS_REFUSED);
}
