use std::time::Duration;

use super::super::{mesh_config, proxy_config};
use crate::mesh_config::*;
use crate::sidecar::OutboundMode;
use crate::visibility::DefaultExport;

fn refused(text: &str) -> String {
    mesh_config(text, "mesh").unwrap_err().to_string()
}

#[test]
fn nothing_means_the_defaults() {
    assert_eq!(mesh_config("", "mesh"), Ok(MeshConfig::default()));
    assert_eq!(mesh_config("{}", "mesh"), Ok(MeshConfig::default()));
}

#[test]
fn what_istio_installs_is_accepted() {
    let text = "accessLogFile: /dev/stdout\ndefaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  tracing: {}\ndefaultProviders:\n  metrics: [prometheus]\nenablePrometheusMerge: true\nrootNamespace: null\ntrustDomain: cluster.local\n";
    let mesh = mesh_config(text, "mesh").unwrap();
    assert_eq!(mesh.access_log_file.as_deref(), Some("/dev/stdout"));
    assert_eq!(mesh.root_namespace, "istio-system");
}

#[test]
fn settings_are_read() {
    let text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nenableAutoMtls: false\ntrustDomain: td.example\ntrustDomainAliases: [old.example]\nprotocolDetectionTimeout: 100ms\ndefaultHttpRetryPolicy: {attempts: 0}\ndefaultServiceExportTo: [., shared]\ndefaultConfig: {concurrency: 2, drainDuration: 10s, tracing: {sampling: 50}, proxyMetadata: {A: b}}\n";
    let mesh = mesh_config(text, "mesh").unwrap();
    assert_eq!(mesh.outbound_traffic_policy, OutboundMode::RegistryOnly);
    assert!(!mesh.enable_auto_mtls);
    assert_eq!(mesh.protocol_detection_timeout, Duration::from_millis(100));
    assert_eq!(mesh.default_http_retry_policy.unwrap().attempts, 0);
    let namespaces = ["shared".to_owned()].into();
    assert_eq!(
        mesh.default_service_export_to,
        DefaultExport::Namespaces {
            own: true,
            namespaces
        }
    );
    assert_eq!(mesh.default_config.concurrency, Some(2));
    assert_eq!(mesh.default_config.tracing.sampling.as_f64(), 50.0);
}

#[test]
fn an_annotation_goes_over_the_meshs_settings() {
    let base = ProxyConfig {
        concurrency: Some(4),
        ..ProxyConfig::default()
    };
    let proxy = proxy_config(
        "holdApplicationUntilProxyStarts: true\nterminationDrainDuration: 1.5s",
        &base,
        "annotation",
    )
    .unwrap();
    assert_eq!(proxy.concurrency, Some(4));
    assert!(proxy.hold_application_until_proxy_starts);
    let again = proxy_config(
        &proxy.to_json().to_string(),
        &ProxyConfig::default(),
        "json",
    );
    assert_eq!(again, Ok(proxy));
}

#[test]
fn what_is_refused() {
    let cases = [
        (
            "acessLogFile: x",
            "mesh:1: MeshConfig: acessLogFile: unknown field; did you mean \"accessLogFile\"?",
        ),
        (
            "extensionProviders: [{name: a}]",
            "mesh:1: MeshConfig: extensionProviders: not implemented yet; metrics are always kept; set accessLogFile for the access log",
        ),
        (
            "proxyListenPort: 1",
            "mesh:1: MeshConfig: proxyListenPort: only 15001 is implemented yet; remove it",
        ),
        (
            "defaultConfig: {interceptionMode: TPROXY}",
            "mesh:1: MeshConfig: defaultConfig.interceptionMode: TPROXY is not implemented yet; use REDIRECT",
        ),
        (
            "defaultConfig: {discoveryAddress: istiod}",
            "mesh:1: MeshConfig: defaultConfig.discoveryAddress: \"istiod\" is not HOST:PORT; for example istiod.istio-system.svc:15012",
        ),
        (
            "defaultConfig: {tracing: {zipkin: {address: a}}}",
            "mesh:1: MeshConfig: defaultConfig.tracing.zipkin: not implemented yet; exporting spans comes later: trace headers are passed on",
        ),
        (
            "trustDomain: a b",
            "mesh:1: MeshConfig: trustDomain: \"a b\" is not a DNS name: only letters, digits, '-' and '.' are allowed (no scheme, port or path); use a DNS name such as cluster.local",
        ),
        (
            "accessLogEncoding: JSON\naccessLogFormat: \"[%START_TIME%]\"",
            "mesh:1: MeshConfig: accessLogFormat: is not a JSON object of texts, as accessLogEncoding JSON needs; write {\"name\": \"%COMMAND%\"}, or set accessLogEncoding to TEXT",
        ),
        (
            "accessLogFormat: \"[%START_TIME%] %REQ%\"",
            "mesh:1: MeshConfig: accessLogFormat: %REQ% is not supported; write %REQ(ARGUMENT)%",
        ),
        (
            "accessLogFormat: \"%PROTOCOL(x)%\"",
            "mesh:1: MeshConfig: accessLogFormat: %PROTOCOL(x)% is not supported; write %PROTOCOL% without parentheses",
        ),
        (
            "accessLogFormat: \"100%% %START_TIME(%Y)% 5%\"",
            "mesh:1: MeshConfig: accessLogFormat: the % at byte 24 is not closed; write %% for a percent sign",
        ),
        (
            "ingressControllerMode: DEFAULT",
            "mesh:1: MeshConfig: ingressControllerMode: only \"STRICT\" is implemented yet; Ingress objects are not served: expose services with a Gateway",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn an_unknown_access_log_command_is_refused_with_all_that_there_are() {
    let said = refused("accessLogFormat: \"%DYNAMIC_METADATA(istio)%\"");
    let start = "mesh:1: MeshConfig: accessLogFormat: %DYNAMIC_METADATA(istio)% is not supported; take it out, or use one of START_TIME(..), REQ(..)";
    assert!(
        said.starts_with(start) && said.ends_with("DOWNSTREAM_DIRECT_REMOTE_PORT"),
        "{said}"
    );
}
