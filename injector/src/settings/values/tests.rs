use std::collections::BTreeMap;

use super::*;
use crate::CaptureDefaults;

fn settings(text: &str) -> Settings {
    Settings::from_values(text, &Settings::default()).unwrap()
}

#[test]
fn nothing_said_leaves_the_base() {
    for text in [
        "",
        "{}",
        "global: {}",
        "global: {proxy: {}}\npilot: {enabled: true}",
    ] {
        assert_eq!(settings(text), Settings::default(), "{text:?}");
    }
}

#[test]
fn istios_names_are_read() {
    let found = settings(
        r#"
revision: canary
global:
  hub: registry.example/mesh/
  tag: 1.0
  imagePullPolicy: Always
  imagePullSecrets: [one, {name: two}]
  multiCluster: {clusterName: east}
  proxy:
    autoInject: disabled
    logLevel: warning
    privileged: true
    seccompProfile: {type: RuntimeDefault}
    lifecycle: {}
    statusPort: 16020
    readinessPeriodSeconds: 2
    startupProbe: {enabled: false}
    includeIPRanges: 10.0.0.0/8, 192.168.0.0/16
    excludeInboundPorts: 8081
    resources: {requests: {cpu: 1, memory: 64Mi, ephemeral-storage: 1Gi}}
  proxy_init: {resources: {limits: {cpu: 50m}}}
sidecarInjectorWebhook:
  rewriteAppHTTPProbe: false
  nativeSidecars: false
  neverInjectSelector: [{matchExpressions: [{key: job, operator: Exists}]}]
  alwaysInjectSelector: [{matchLabels: {mesh: "yes"}}]
  injectedAnnotations: {example.com/profile: runtime/default}
"#,
    );
    assert_eq!(found.proxy_image, "registry.example/mesh/meshproxy:1.0");
    assert_eq!(found.image_pull_secrets, ["one", "two"]);
    assert_eq!(found.cluster_id, "east");
    assert!(!found.auto_inject && found.privileged && !found.rewrite_probes);
    assert_eq!(found.log_level, Some("warn"));
    assert!(found.seccomp_profile.is_some() && found.lifecycle.is_none());
    assert_eq!(found.status_port, Some(16020));
    assert_eq!(found.readiness.period_seconds, 2);
    assert_eq!(found.startup_failure_threshold, None);
    let capture = CaptureDefaults {
        include_outbound_ip_ranges: "10.0.0.0/8,192.168.0.0/16".to_owned(),
        exclude_inbound_ports: "8081".to_owned(),
        ..CaptureDefaults::default()
    };
    assert_eq!(found.capture, capture);
    assert_eq!(found.resources.requests["cpu"], "1");
    assert_eq!(found.resources.limits, BTreeMap::new());
    assert_eq!(found.init_resources.unwrap().limits["cpu"], "50m");
    assert_eq!(found.native_sidecar, Some(false));
    assert_eq!(found.never_inject[0].to_string(), "job");
    assert_eq!(found.always_inject[0].to_string(), "mesh=yes");
    assert_eq!(found.injected_annotations.len(), 1);
}

#[test]
fn an_image_with_a_path_needs_no_hub() {
    let found = settings("global: {proxy: {image: other.example/proxy@sha256:1}}");
    assert_eq!(found.proxy_image, "other.example/proxy@sha256:1");
}

#[test]
fn a_bad_value_is_named() {
    let cases = [
        (
            "global: {hub: h}",
            "global: set hub and tag, from which the proxy's image is pulled",
        ),
        (
            "global: {proxy: {logLevel: loud}}",
            "global.proxy.logLevel: use one of trace, debug, info, warning, error, critical, off",
        ),
        (
            "global: {proxy: {autoInject: maybe}}",
            "global.proxy.autoInject: \"maybe\" is neither enabled nor disabled",
        ),
        (
            "global: {proxy: {resources: {limits: {memory: lots}}}}",
            "global.proxy.resources.limits.memory: write a quantity, for example 100m or 128Mi",
        ),
        (
            "global: {proxy: {excludeIPRanges: 10.0.0.1}}",
            "global.proxy.excludeIPRanges: \"10.0.0.1\" is not an IP range: write for example 10.0.0.0/8 or 10.1.2.3/32",
        ),
        (
            "global: {imagePullPolicy: Sometimes}",
            "global.imagePullPolicy: \"Sometimes\" is none of Always, IfNotPresent, Never",
        ),
        (
            "sidecarInjectorWebhook: {neverInjectSelector: [{}]}",
            "sidecarInjectorWebhook.neverInjectSelector[0]: an empty selector matches every pod; name labels, or remove it",
        ),
    ];
    for (text, expected) in cases {
        let error = Settings::from_values(text, &Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = Settings::from_values("global: {proxy: {privileged: often}}", &Settings::default());
    assert_eq!(error.unwrap_err().path, "global.proxy.privileged");
}
