//! Reads MeshConfig over the defaults.

use std::time::Duration;

use serde_json::{Value, json};

use super::http_action::retries;
use super::proxy_config;
use super::reader::{Fields, Node};
use super::scope::default_export;
use super::sidecar::OUTBOUND_MODES;
use super::traffic_policy::tcp_keepalive;
use crate::host::Host;
use crate::mesh_config::{AccessLogEncoding, InboundMode, MeshConfig, PathNormalization};

const KNOWN: &[&str] = &[
    "accessLogFile",
    "accessLogFormat",
    "accessLogEncoding",
    "outboundTrafficPolicy",
    "inboundTrafficPolicy",
    "trustDomain",
    "trustDomainAliases",
    "defaultConfig",
    "enableAutoMtls",
    "rootNamespace",
    "protocolDetectionTimeout",
    "defaultHttpRetryPolicy",
    "connectTimeout",
    "dnsRefreshRate",
    "tcpKeepalive",
    "h2UpgradePolicy",
    "enableTracing",
    "enablePrometheusMerge",
    "defaultServiceExportTo",
    "defaultVirtualServiceExportTo",
    "defaultDestinationRuleExportTo",
    "pathNormalization",
    "defaultProviders",
    "proxyListenPort",
    "proxyInboundListenPort",
    "ingressClass",
    "ingressService",
    "ingressControllerMode",
];

const TELEMETRY: &str = "metrics are always kept; set accessLogFile for the access log";
const TLS: &str = "the proxy speaks TLS 1.3 inside the mesh";

const REFUSED: &[(&str, &str)] = &[
    ("proxyHttpPort", "remove it"),
    ("hboneIdleTimeout", "remove it"),
    ("ingressSelector", "expose services with a Gateway"),
    ("enableEnvoyAccessLogService", "set accessLogFile"),
    ("disableEnvoyListenerLog", "remove it"),
    ("configSources", "remove it"),
    ("caCertificates", "put further roots into the CA's secret"),
    (
        "localityLbSetting",
        "endpoints are balanced without regard to locality",
    ),
    (
        "zoneAwareLbSetting",
        "endpoints are balanced without regard to zones",
    ),
    ("inboundClusterStatName", "remove it"),
    ("outboundClusterStatName", "remove it"),
    ("certificates", "remove it"),
    ("serviceSettings", "remove it"),
    ("serviceScopeConfigs", "remove it"),
    (
        "verifyCertificateAtClient",
        "servers are always verified: remove it",
    ),
    ("ca", "remove it"),
    ("extensionProviders", TELEMETRY),
    (
        "discoverySelectors",
        "all namespaces are watched: remove it",
    ),
    ("meshMTLS", TLS),
    ("mesh_mTLS", TLS),
    (
        "tlsDefaults",
        "set minProtocolVersion and cipherSuites on the Gateway's servers",
    ),
    (
        "defaultTrafficPolicy",
        "set a DestinationRule for the hosts",
    ),
    (
        "defaultInboundHttpRetryPolicy",
        "set retries on the routes of VirtualServices",
    ),
    ("serviceEntryVisibility", "set exportTo on ServiceEntries"),
];

pub(super) fn read(node: &Node<'_>, base: &MeshConfig) -> Option<MeshConfig> {
    let fields = node.open(KNOWN, REFUSED)?;
    built_in(&fields);
    let mut mesh = base.clone();
    access_log(&fields, &mut mesh);
    trust(&fields, &mut mesh);
    traffic(&fields, &mut mesh);
    exports(&fields, &mut mesh);
    if let Some(node) = fields.get("defaultConfig") {
        mesh.default_config = proxy_config::read(&node, &base.default_config)?;
    }
    set(&mut mesh.enable_tracing, fields.flag("enableTracing"));
    set(
        &mut mesh.enable_prometheus_merge,
        fields.flag("enablePrometheusMerge"),
    );
    Some(mesh)
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Settings of which only the built-in value exists.
fn built_in(fields: &Fields<'_>) {
    fields.fixed("proxyListenPort", &json!(15001), "remove it");
    fields.fixed("proxyInboundListenPort", &json!(15006), "remove it");
    let ingress = "Ingress objects are not served: expose services with a Gateway";
    fields.fixed("ingressClass", &json!("istio"), ingress);
    fields.fixed("ingressService", &json!("istio-ingressgateway"), ingress);
    let mode = fields.get("ingressControllerMode");
    if mode.is_some_and(|node| node.value != &json!("OFF")) {
        fields.fixed("ingressControllerMode", &json!("STRICT"), ingress);
    }
    let Some(node) = fields.get("defaultProviders") else {
        return;
    };
    let refused = &[
        ("tracing", "set defaultConfig.tracing"),
        ("accessLogging", TELEMETRY),
    ];
    if let Some(fields) = node.open(&["metrics"], refused) {
        fields.fixed("metrics", &json!(["prometheus"]), TELEMETRY);
    }
}

fn access_log(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    if fields.get("accessLogFile").is_some() {
        // An empty text turns the log off.
        mesh.access_log_file = fields.text("accessLogFile");
    }
    let encodings = [
        ("TEXT", AccessLogEncoding::Text),
        ("JSON", AccessLogEncoding::Json),
    ];
    set(
        &mut mesh.access_log_encoding,
        fields.choice("accessLogEncoding", &encodings, &[]),
    );
    let Some(format) = fields.text("accessLogFormat") else {
        return;
    };
    let flat = match serde_json::from_str(&format) {
        Ok(Value::Object(names)) => names.values().all(Value::is_string),
        _ => false,
    };
    if mesh.access_log_encoding == AccessLogEncoding::Json && !flat {
        let remedy = "write {\"name\": \"%COMMAND%\"}, or set accessLogEncoding to TEXT";
        fields.error_at::<()>(
            "accessLogFormat",
            "is not a JSON object of texts, as accessLogEncoding JSON needs",
            remedy,
        );
    }
    if let Err((problem, remedy)) = super::access_log_format::check(&format) {
        fields.error_at::<()>("accessLogFormat", problem, &remedy);
    }
    mesh.access_log_format = Some(format);
}

fn trust(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    let domain = |name: &str, text: String| match text.parse::<Host>() {
        Ok(_) => Some(text),
        Err(error) => fields.error_at(name, error, "use a DNS name such as cluster.local"),
    };
    let named = fields
        .text("trustDomain")
        .and_then(|text| domain("trustDomain", text));
    set(&mut mesh.trust_domain, named);
    if fields.get("trustDomainAliases").is_some() {
        let aliases = fields.texts("trustDomainAliases").into_iter();
        mesh.trust_domain_aliases = aliases
            .filter_map(|text| domain("trustDomainAliases", text))
            .collect();
    }
    set(&mut mesh.enable_auto_mtls, fields.flag("enableAutoMtls"));
    set(&mut mesh.root_namespace, fields.text("rootNamespace"));
}

fn traffic(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    if let Some(node) = fields.get("outboundTrafficPolicy") {
        let refused = &[("tls", "set a DestinationRule for the hosts")];
        let dynamic = [("ALLOW_ANY_DYNAMIC_DNS", "use ALLOW_ANY")];
        let mode = node
            .open(&["mode"], refused)
            .and_then(|f| f.choice("mode", &OUTBOUND_MODES, &dynamic));
        set(&mut mesh.outbound_traffic_policy, mode);
    }
    if let Some(node) = fields.get("inboundTrafficPolicy") {
        let words = [
            ("PASSTHROUGH", InboundMode::Passthrough),
            ("LOCALHOST", InboundMode::Localhost),
        ];
        let mode = node
            .open(&["mode"], &[])
            .and_then(|f| f.choice("mode", &words, &[]));
        set(&mut mesh.inbound_traffic_policy, mode);
    }
    if let Some(node) = fields.get("pathNormalization") {
        let words = [
            ("DEFAULT", PathNormalization::Base),
            ("NONE", PathNormalization::None),
            ("BASE", PathNormalization::Base),
            ("MERGE_SLASHES", PathNormalization::MergeSlashes),
            (
                "DECODE_AND_MERGE_SLASHES",
                PathNormalization::DecodeAndMergeSlashes,
            ),
        ];
        let mode = node
            .open(&["normalization"], &[])
            .and_then(|f| f.choice("normalization", &words, &[]));
        set(&mut mesh.path_normalization, mode);
    }
    let upgrade = [("DO_NOT_UPGRADE", false), ("UPGRADE", true)];
    set(
        &mut mesh.h2_upgrade,
        fields.choice("h2UpgradePolicy", &upgrade, &[]),
    );
    let detection = fields.get("protocolDetectionTimeout");
    set(
        &mut mesh.protocol_detection_timeout,
        detection.and_then(|n| n.duration(Duration::ZERO)),
    );
    set(&mut mesh.connect_timeout, fields.duration("connectTimeout"));
    set(
        &mut mesh.dns_refresh_rate,
        fields.duration("dnsRefreshRate"),
    );
    if let Some(node) = fields.get("defaultHttpRetryPolicy") {
        mesh.default_http_retry_policy = retries(&node);
    }
    if let Some(node) = fields.get("tcpKeepalive") {
        mesh.tcp_keepalive = tcp_keepalive(&node);
    }
}

fn exports(fields: &Fields<'_>, mesh: &mut MeshConfig) {
    set(
        &mut mesh.default_service_export_to,
        default_export(fields, "defaultServiceExportTo"),
    );
    set(
        &mut mesh.default_virtual_service_export_to,
        default_export(fields, "defaultVirtualServiceExportTo"),
    );
    set(
        &mut mesh.default_destination_rule_export_to,
        default_export(fields, "defaultDestinationRuleExportTo"),
    );
}
