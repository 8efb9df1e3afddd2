//! What a pod's author should look at again, though the pod is injected.

use mesh_config::decode::nearest;
use serde_json::Value;

use crate::decide::INJECT;
use crate::pod::{applications, name_of, text_map};
use crate::sidecar::PROXY_ID;

/// What injection understands, including what it refuses.
const KNOWN: [&str; 35] = [
    "inject.istio.io/templates",
    "istio.io/reroute-virtual-interfaces",
    "istio.io/rev",
    "prometheus.istio.io/merge-metrics",
    "prometheus.istio.io/scrape-targets",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "readiness.status.sidecar.istio.io/failureThreshold",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "readiness.status.sidecar.istio.io/periodSeconds",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/proxyImageType",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/status",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
];

/// Istio's annotations that change only what Envoy or its agent tell about themselves.
const WITHOUT_EFFECT: [(&str, &str); 8] = [
    (
        "readiness.status.sidecar.istio.io/applicationPorts",
        "readiness does not depend on it",
    ),
    (
        "sidecar.istio.io/agentLogLevel",
        "agent and proxy are one process: use sidecar.istio.io/logLevel",
    ),
    (
        "sidecar.istio.io/componentLogLevel",
        "the proxy has other components than Envoy: use sidecar.istio.io/logLevel",
    ),
    (
        "sidecar.istio.io/controlPlaneAuthPolicy",
        "the control plane is always reached over TLS",
    ),
    ("sidecar.istio.io/enableCoreDump", "no core is dumped"),
    (
        "sidecar.istio.io/extraStatTags",
        "the proxy's metrics have Istio's labels",
    ),
    (
        "sidecar.istio.io/statsHistogramBuckets",
        "the proxy's metrics have Istio's buckets",
    ),
    (
        "sidecar.istio.io/statsCompression",
        "the proxy's metrics are not compressed",
    ),
];

/// What is doubtful about a pod, a line each: labels and annotations that have no effect here or that
/// Istio doesn't know, which are misspelt most of the time, and containers that are not captured.
pub fn warnings(pod: &Value) -> Vec<String> {
    let annotations = text_map(pod, "annotations");
    let doubtful = annotations.keys().filter_map(|name| {
        let problem = annotation(name)?;
        Some(format!("annotation {name} has no effect: {problem}"))
    });
    let label = text_map(pod, "labels").remove(INJECT);
    let label = label.filter(|value| value != "true" && value != "false");
    let label = label.map(|value| {
        format!("label {INJECT}={value:?} has no effect: write \"true\" or \"false\"")
    });
    let users = applications(pod).filter_map(|container| {
        let id = proxy_id(pod, container)?;
        let name = name_of(container);
        Some(format!(
            "container {name:?} has {id} {PROXY_ID}, the proxy's own: what it sends is not captured and so neither encrypted nor routed (use another)"
        ))
    });
    label.into_iter().chain(doubtful).chain(users).collect()
}

/// Which id of a container is the proxy's, by which traffic is told apart.
fn proxy_id(pod: &Value, container: &Value) -> Option<&'static str> {
    ["runAsUser", "runAsGroup"].into_iter().find(|field| {
        let own = &container["securityContext"][*field];
        let of_pod = &pod["spec"]["securityContext"][*field];
        own.as_u64().or(of_pod.as_u64()) == Some(PROXY_ID)
    })
}

fn annotation(name: &str) -> Option<String> {
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
        return Some((*why).to_owned());
    }
    if name.starts_with("sidecar.istio.io/statsInclusion") {
        return Some("the proxy always keeps all of its metrics".to_owned());
    }
    let (group, _) = name.split_once('/')?;
    let ours = KNOWN.iter().any(|known| {
        let (known_group, _) = known.split_once('/').unwrap_or_default();
        known_group == group && group != "istio.io"
    });
    if !ours || KNOWN.contains(&name) {
        return None;
    }
    Some(match nearest(name, KNOWN) {
        Some(known) => format!("it is not known; did you mean {known}?"),
        None => "it is not known".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::warnings;

    #[test]
    fn doubtful_words_are_told() {
        let pod = json!({"metadata": {
            "labels": {"sidecar.istio.io/inject": "yes"},
            "annotations": {
                "sidecar.istio.io/proxyCpu": "1",
                "sidecar.istio.io/agentLogLevel": "debug",
                "sidecar.istio.io/statsInclusionPrefixes": "a",
                "sidecar.istio.io/logLevel": "debug",
                "example.com/sidecar": "1",
                "istio.io/dataplane-mode": "none",
            },
        }});
        let expected = [
            "label sidecar.istio.io/inject=\"yes\" has no effect: write \"true\" or \"false\"",
            "annotation sidecar.istio.io/agentLogLevel has no effect: agent and proxy are one process: use sidecar.istio.io/logLevel",
            "annotation sidecar.istio.io/proxyCpu has no effect: it is not known; did you mean sidecar.istio.io/proxyCPU?",
            "annotation sidecar.istio.io/statsInclusionPrefixes has no effect: the proxy always keeps all of its metrics",
        ];
        assert_eq!(warnings(&pod), expected);
        assert!(warnings(&json!({})).is_empty());
    }

    #[test]
    fn applications_with_the_proxys_ids_are_told() {
        let pod = |of_pod: Value, own: Value| {
            json!({"spec": {"securityContext": of_pod, "containers": [
                {"name": "app", "securityContext": own},
                {"name": "istio-proxy", "securityContext": {"runAsUser": 1337}},
            ]}})
        };
        let proxy = json!({"runAsUser": 1337});
        let told = warnings(&pod(proxy.clone(), Value::Null));
        assert!(told[0].contains(r#""app" has runAsUser 1337"#), "{told:?}");
        let told = warnings(&pod(Value::Null, json!({"runAsGroup": 1337})));
        assert!(told[0].contains("runAsGroup 1337"), "{told:?}");
        assert!(warnings(&pod(proxy, json!({"runAsUser": 1000}))).is_empty());
    }
}
