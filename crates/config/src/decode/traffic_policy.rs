//! Reads traffic policies: balancing, connection pools, outlier detection.

use std::time::Duration;

use super::client_tls;
use super::reader::{Fields, Node};
use super::scope::is_header_name;
use super::virtual_service::port_selector;
use crate::destination_rule::{
    ConnectionPool, ConsistentHash, H2UpgradePolicy, HashAlgorithm, HashKey, HttpSettings,
    LoadBalancer, OutlierDetection, PolicySettings, TcpKeepalive, TcpSettings, TrafficPolicy,
};
use crate::number::{Percent, PortNumber};

/// The parts of a policy that have a port level too.
const PARTS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];

/// The field `trafficPolicy`; the empty policy if absent.
pub(super) fn of(fields: &Fields<'_>) -> TrafficPolicy {
    let policy = fields.get("trafficPolicy").and_then(|node| read(&node));
    policy.unwrap_or_default()
}

fn read(node: &Node<'_>) -> Option<TrafficPolicy> {
    let fields = node.open(
        &[
            "loadBalancer",
            "connectionPool",
            "outlierDetection",
            "tls",
            "portLevelSettings",
        ],
        &[
            ("tunnel", "remove it"),
            ("proxyProtocol", "remove it"),
            (
                "retryBudget",
                "limit retries with connectionPool.http.maxRetries",
            ),
        ],
    )?;
    let levels = fields.items("portLevelSettings");
    if fields.present(&PARTS).is_empty() && levels.is_empty() {
        return fields.error("says nothing", format!("set one of {}", PARTS.join(", ")));
    }
    Some(TrafficPolicy {
        settings: settings(&fields),
        port_level: levels.iter().filter_map(port_level).collect(),
    })
}

fn port_level(node: &Node<'_>) -> Option<(PortNumber, PolicySettings)> {
    let fields = node.open(
        &[
            "port",
            "loadBalancer",
            "connectionPool",
            "outlierDetection",
            "tls",
        ],
        &[],
    )?;
    if fields.present(&PARTS).is_empty() {
        fields.error::<()>("says nothing", format!("set one of {}", PARTS.join(", ")));
    }
    let settings = settings(&fields);
    let port = fields.required("port", "name the port, for example {number: 80}")?;
    Some((port_selector(&port)?, settings))
}

fn settings(fields: &Fields<'_>) -> PolicySettings {
    PolicySettings {
        load_balancer: fields
            .get("loadBalancer")
            .and_then(|node| load_balancer(&node)),
        connection_pool: fields
            .get("connectionPool")
            .and_then(|node| connection_pool(&node)),
        outlier_detection: fields
            .get("outlierDetection")
            .and_then(|node| outlier_detection(&node)),
        tls: fields.get("tls").and_then(|node| client_tls::read(&node)),
    }
}

fn load_balancer(node: &Node<'_>) -> Option<LoadBalancer> {
    let fields = node.open(
        &["simple", "consistentHash"],
        &[
            (
                "localityLbSetting",
                "endpoints are balanced without regard to locality",
            ),
            (
                "zoneAwareLbSetting",
                "endpoints are balanced without regard to zones",
            ),
            (
                "warmupDurationSecs",
                "new endpoints get their full share at once",
            ),
            ("warmup", "new endpoints get their full share at once"),
        ],
    )?;
    fields.exclusive(&["simple", "consistentHash"]);
    if let Some(node) = fields.get("consistentHash") {
        return consistent_hash(&node).map(LoadBalancer::ConsistentHash);
    }
    let words = [
        ("UNSPECIFIED", 0),
        ("ROUND_ROBIN", 1),
        ("LEAST_REQUEST", 2),
        ("LEAST_CONN", 2),
        ("RANDOM", 3),
        ("PASSTHROUGH", 4),
    ];
    Some(match fields.choice("simple", &words, &[]) {
        Some(1) => LoadBalancer::RoundRobin,
        Some(2) => LoadBalancer::LeastRequest,
        Some(3) => LoadBalancer::Random,
        Some(4) => LoadBalancer::Passthrough,
        _ => LoadBalancer::Default,
    })
}

fn consistent_hash(node: &Node<'_>) -> Option<ConsistentHash> {
    let fields = node.open(
        &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
            "ringHash",
            "maglev",
            "minimumRingSize",
        ],
        &[],
    )?;
    let keys = [
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ];
    fields.exclusive(&keys);
    fields.exclusive(&["ringHash", "maglev", "minimumRingSize"]);
    let algorithm = hash_algorithm(&fields);
    let key = if let Some(name) = fields.text("httpHeaderName") {
        if !is_header_name(name.strip_prefix(':').unwrap_or(&name)) {
            fields.error_at::<()>(
                "httpHeaderName",
                format!("{name:?} is not a header name"),
                "",
            );
        }
        HashKey::Header(name)
    } else if let Some(node) = fields.get("httpCookie") {
        cookie(&node)?
    } else if let Some(name) = fields.text("httpQueryParameterName") {
        HashKey::QueryParameter(name)
    } else if fields.flag("useSourceIp") == Some(true) {
        HashKey::SourceIp
    } else {
        return fields.error("nothing to hash", format!("set one of {}", keys.join(", ")));
    };
    Some(ConsistentHash {
        key,
        algorithm: algorithm?,
    })
}

fn cookie(node: &Node<'_>) -> Option<HashKey> {
    let refused = &[("attributes", "remove it")];
    let fields = node.open(&["name", "path", "ttl"], refused)?;
    Some(HashKey::Cookie {
        path: fields.text("path"),
        ttl: fields
            .get("ttl")
            .and_then(|node| node.duration(Duration::ZERO)),
        name: fields.required_text("name", "name the cookie")?,
    })
}

/// Istio's default ring.
const MINIMUM_RING_SIZE: u64 = 1024;
/// Envoy's default Maglev table, and the largest it takes.
const MAGLEV_TABLE_SIZE: u64 = 65537;
const MAX_MAGLEV_TABLE_SIZE: u64 = 5_000_011;
/// Envoy's largest ring (8 Mi entries).
const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;

fn hash_algorithm(fields: &Fields<'_>) -> Option<HashAlgorithm> {
    if let Some(node) = fields.get("maglev") {
        let table = node.open(&["tableSize"], &[])?;
        let table_size = match table.get("tableSize") {
            Some(node) => node.integer(1, MAX_MAGLEV_TABLE_SIZE)?,
            None => MAGLEV_TABLE_SIZE,
        };
        if !is_prime(table_size) {
            return table.error_at(
                "tableSize",
                format!("{table_size} is not a prime number"),
                "use for example 65537",
            );
        }
        return Some(HashAlgorithm::Maglev { table_size });
    }
    let ring = match fields.get("ringHash") {
        Some(node) => node.open(&["minimumRingSize"], &[])?.get("minimumRingSize"),
        None => fields.get("minimumRingSize"),
    };
    let size = ring.map_or(Some(0), |node| node.integer(0, MAX_RING_SIZE))?;
    let minimum_ring_size = if size == 0 { MINIMUM_RING_SIZE } else { size };
    Some(HashAlgorithm::RingHash { minimum_ring_size })
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|d| d * d <= number)
            .all(|d| !number.is_multiple_of(d))
}

/// A `ConnectionPoolSettings`.
pub(super) fn connection_pool(node: &Node<'_>) -> Option<ConnectionPool> {
    let fields = node.open(&["tcp", "http"], &[])?;
    if fields.present(&["tcp", "http"]).is_empty() {
        return fields.error("says nothing", "set tcp or http");
    }
    Some(ConnectionPool {
        tcp: fields
            .get("tcp")
            .and_then(|node| tcp_settings(&node))
            .unwrap_or_default(),
        http: fields
            .get("http")
            .and_then(|node| http_settings(&node))
            .unwrap_or_default(),
    })
}

fn tcp_settings(node: &Node<'_>) -> Option<TcpSettings> {
    let fields = node.open(
        &[
            "maxConnections",
            "connectTimeout",
            "tcpKeepalive",
            "maxConnectionDuration",
            "idleTimeout",
        ],
        &[],
    )?;
    Some(TcpSettings {
        max_connections: fields.limit("maxConnections"),
        connect_timeout: fields.duration("connectTimeout"),
        keepalive: fields
            .get("tcpKeepalive")
            .and_then(|node| tcp_keepalive(&node)),
        max_connection_duration: fields.duration("maxConnectionDuration"),
        idle_timeout: fields
            .get("idleTimeout")
            .and_then(|node| node.duration(Duration::ZERO)),
    })
}

/// A `TcpKeepalive`.
pub(super) fn tcp_keepalive(node: &Node<'_>) -> Option<TcpKeepalive> {
    let fields = node.open(&["probes", "time", "interval"], &[])?;
    let seconds = |name: &str| fields.get(name)?.duration(Duration::from_secs(1));
    Some(TcpKeepalive {
        probes: fields.limit("probes"),
        time: seconds("time"),
        interval: seconds("interval"),
    })
}

fn http_settings(node: &Node<'_>) -> Option<HttpSettings> {
    let fields = node.open(
        &[
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "idleTimeout",
            "h2UpgradePolicy",
            "useClientProtocol",
            "maxConcurrentStreams",
        ],
        &[("http2KeepAlive", "use tcp.tcpKeepalive")],
    )?;
    let upgrade = [
        ("DEFAULT", H2UpgradePolicy::MeshDefault),
        ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
        ("UPGRADE", H2UpgradePolicy::Upgrade),
    ];
    Some(HttpSettings {
        http1_max_pending_requests: fields.limit("http1MaxPendingRequests"),
        http2_max_requests: fields.limit("http2MaxRequests"),
        max_requests_per_connection: fields.limit("maxRequestsPerConnection"),
        max_retries: fields.limit("maxRetries"),
        idle_timeout: fields.duration("idleTimeout"),
        h2_upgrade_policy: fields
            .choice("h2UpgradePolicy", &upgrade, &[])
            .unwrap_or_default(),
        use_client_protocol: fields.flag("useClientProtocol").unwrap_or_default(),
        max_concurrent_streams: fields.limit("maxConcurrentStreams"),
    })
}

fn outlier_detection(node: &Node<'_>) -> Option<OutlierDetection> {
    let fields = node.open(
        &[
            "splitExternalLocalOriginErrors",
            "consecutiveLocalOriginFailures",
            "consecutiveGatewayErrors",
            "consecutive5xxErrors",
            "interval",
            "baseEjectionTime",
            "maxEjectionPercent",
            "minHealthPercent",
        ],
        &[
            (
                "consecutiveErrors",
                "use consecutive5xxErrors or consecutiveGatewayErrors",
            ),
            (
                "outlierDetectionHttpErrorCodes",
                "use consecutive5xxErrors or consecutiveGatewayErrors",
            ),
        ],
    )?;
    let share = |name: &str| {
        let whole = fields.get(name)?.integer(0, 100)?;
        Percent::new(whole as f64)
    };
    Some(OutlierDetection {
        consecutive_5xx_errors: fields.number("consecutive5xxErrors"),
        consecutive_gateway_errors: fields.number("consecutiveGatewayErrors"),
        split_external_local_origin_errors: fields
            .flag("splitExternalLocalOriginErrors")
            .unwrap_or_default(),
        consecutive_local_origin_failures: fields.number("consecutiveLocalOriginFailures"),
        interval: fields.duration("interval"),
        base_ejection_time: fields.duration("baseEjectionTime"),
        max_ejection_percent: share("maxEjectionPercent")
            .filter(|share| *share > Percent::default()),
        min_health_percent: share("minHealthPercent").unwrap_or_default(),
    })
}
