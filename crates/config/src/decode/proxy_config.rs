//! Reads ProxyConfig over a base: MeshConfig's `defaultConfig`, or that below a pod's annotation.

use serde_json::json;

use super::http_action::percent;
use super::reader::{Fields, Node};
use crate::mesh_config::{InterceptionMode, ProxyConfig};

const KNOWN: &[&str] = &[
    "discoveryAddress",
    "concurrency",
    "proxyMetadata",
    "drainDuration",
    "terminationDrainDuration",
    "holdApplicationUntilProxyStarts",
    "tracing",
    "interceptionMode",
    "proxyAdminPort",
    "statusPort",
    "serviceCluster",
    "meshId",
    "gatewayTopology",
    "controlPlaneAuthPolicy",
    "configPath",
    "binaryPath",
];

const METRICS: &str = "metrics are served for Prometheus on port 15090";

const REFUSED: &[(&str, &str)] = &[
    ("tracingServiceName", "set serviceCluster"),
    ("discoveryRefreshDelay", "remove it"),
    ("zipkinAddress", "remove it"),
    ("statsdUdpAddress", METRICS),
    ("envoyMetricsServiceAddress", METRICS),
    ("envoyMetricsService", METRICS),
    ("envoyAccessLogService", "set accessLogFile in MeshConfig"),
    ("availabilityZone", "remove it"),
    ("customConfigFile", "remove it"),
    ("statNameLength", "remove it"),
    ("proxyBootstrapTemplatePath", "remove it"),
    ("sds", "remove it"),
    ("runtimeValues", "remove it"),
    ("extraStatTags", "remove it"),
    ("readinessProbe", "set a readiness probe in the pod"),
    ("proxyStatsMatcher", "all metrics are served: remove it"),
    ("caCertificatesPem", "remove it"),
    ("image", "set the annotation sidecar.istio.io/proxyImage"),
    ("privateKeyProvider", "remove it"),
    ("proxyHeaders", "remove it"),
    ("fileFlushInterval", "remove it"),
    ("fileFlushMinSizeKb", "remove it"),
    ("statsCompression", "remove it"),
    ("connectionSettings", "remove it"),
];

pub(super) fn read(node: &Node<'_>, base: &ProxyConfig) -> Option<ProxyConfig> {
    let fields = node.open(KNOWN, REFUSED)?;
    fields.fixed("controlPlaneAuthPolicy", &json!("MUTUAL_TLS"), "remove it");
    fields.fixed("configPath", &json!("./etc/istio/proxy"), "remove it");
    fields.fixed("binaryPath", &json!("/usr/local/bin/envoy"), "remove it");
    let mut proxy = base.clone();
    if let Some(address) = fields.text("discoveryAddress") {
        check_address(&fields, &address);
        proxy.discovery_address = address;
    }
    if let Some(concurrency) = fields.number("concurrency") {
        proxy.concurrency = Some(concurrency);
    }
    proxy
        .proxy_metadata
        .extend(fields.text_map("proxyMetadata"));
    if let Some(drain) = fields.duration("drainDuration") {
        if drain.subsec_nanos() != 0 {
            fields.error_at::<()>(
                "drainDuration",
                "has a fraction of a second",
                "round it to seconds",
            );
        }
        proxy.drain_duration = drain;
    }
    let termination = fields.get("terminationDrainDuration");
    if let Some(drain) = termination.and_then(|node| node.duration(std::time::Duration::ZERO)) {
        proxy.termination_drain_duration = drain;
    }
    if let Some(hold) = fields.flag("holdApplicationUntilProxyStarts") {
        proxy.hold_application_until_proxy_starts = hold;
    }
    ports(&fields, &mut proxy);
    names(&fields, &mut proxy);
    Some(proxy)
}

fn check_address(fields: &Fields<'_>, address: &str) {
    let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !fits {
        let remedy = "for example istiod.istio-system.svc:15012";
        fields.error_at::<()>(
            "discoveryAddress",
            format!("{address:?} is not HOST:PORT"),
            remedy,
        );
    }
}

fn ports(fields: &Fields<'_>, proxy: &mut ProxyConfig) {
    if let Some(port) = fields.port("proxyAdminPort") {
        proxy.proxy_admin_port = port;
    }
    if let Some(port) = fields.port("statusPort") {
        proxy.status_port = port;
    }
    let modes = [
        ("REDIRECT", InterceptionMode::Redirect),
        ("NONE", InterceptionMode::None),
    ];
    let refused = [("TPROXY", "use REDIRECT")];
    if let Some(mode) = fields.choice("interceptionMode", &modes, &refused) {
        proxy.interception_mode = mode;
    }
}

fn names(fields: &Fields<'_>, proxy: &mut ProxyConfig) {
    if let Some(name) = fields.text("serviceCluster") {
        proxy.service_cluster = Some(name);
    }
    if let Some(id) = fields.text("meshId") {
        proxy.mesh_id = Some(id);
    }
    if let Some(node) = fields.get("tracing") {
        tracing(&node, proxy);
    }
    if let Some(node) = fields.get("gatewayTopology") {
        let refused = &[
            ("forwardClientCertDetails", "remove it"),
            ("proxyProtocol", "remove it"),
        ];
        let topology = node.open(&["numTrustedProxies"], refused);
        if let Some(count) = topology.and_then(|fields| fields.number("numTrustedProxies")) {
            proxy.trusted_proxies = count;
        }
    }
}

fn tracing(node: &Node<'_>, proxy: &mut ProxyConfig) {
    const EXPORT: &str = "exporting spans comes later: trace headers are passed on";
    let refused = &[
        ("zipkin", EXPORT),
        ("lightstep", EXPORT),
        ("datadog", EXPORT),
        ("stackdriver", EXPORT),
        ("openCensusAgent", EXPORT),
        ("customTags", EXPORT),
        ("maxPathTagLength", EXPORT),
        ("tlsSettings", EXPORT),
        ("enableIstioTags", EXPORT),
    ];
    let Some(fields) = node.open(&["sampling"], refused) else {
        return;
    };
    if let Some(share) = fields.get("sampling").and_then(|node| percent(&node)) {
        proxy.tracing.sampling = share;
    }
}
