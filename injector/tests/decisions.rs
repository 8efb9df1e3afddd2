//! Which pods are injected, and which are refused; the text is part of the product.

#[path = "support/case.rs"]
mod support;

use mesh_injector::{Outcome, inject};
use support::Case;

const SPEC: &str = "spec: {containers: [{name: a, image: a}]}\n";

/// What becomes of a pod: `injected`, or why not.
fn outcome(head: &str, pod: &str) -> String {
    let case = Case::parse(&format!("{head}\n---\n{pod}"));
    match inject(&case.pod, &case.context()) {
        Ok(Outcome::Patch(_)) => "injected".to_owned(),
        Ok(Outcome::Skip(reason)) => reason.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

const INJECTED: &str = "injected";
const NOT_SELECTED: &str = "neither namespace shop nor the pod asks for a proxy (label the namespace istio-injection=enabled, or the pod sidecar.istio.io/inject=true)";
const POD_OUT: &str = "the pod says sidecar.istio.io/inject=false";
const NAMESPACE_OUT: &str =
    "namespace shop has the label istio-injection with a value other than enabled";
const OTHER: &str = "the label istio.io/rev asks for revision canary, and this is default";
const NOT_DEFAULT: &str = "istio-injection=enabled is for the default revision, and this is canary (label the namespace istio.io/rev=canary instead)";

/// Labels of the namespace, labels of the pod, settings of the injector, outcome.
const DECISIONS: &[(&str, &str, &str, &str)] = &[
    ("", "", "", NOT_SELECTED),
    ("", "sidecar.istio.io/inject: 'true'", "", INJECTED),
    ("", "sidecar.istio.io/inject: 'false'", "", POD_OUT),
    ("", "sidecar.istio.io/inject: 'yes'", "", NOT_SELECTED),
    ("", "istio.io/rev: default", "", INJECTED),
    ("", "istio.io/rev: canary", "", OTHER),
    ("", "istio.io/rev: canary", "revision: canary", INJECTED),
    (
        "",
        "sidecar.istio.io/inject: 'true', istio.io/rev: canary",
        "",
        OTHER,
    ),
    (
        "",
        "sidecar.istio.io/inject: 'true'",
        "revision: canary",
        NOT_DEFAULT,
    ),
    ("istio-injection: enabled", "", "", INJECTED),
    (
        "istio-injection: enabled",
        "sidecar.istio.io/inject: 'true'",
        "",
        INJECTED,
    ),
    (
        "istio-injection: enabled",
        "sidecar.istio.io/inject: 'false'",
        "",
        POD_OUT,
    ),
    (
        "istio-injection: enabled",
        "",
        "revision: canary",
        NOT_DEFAULT,
    ),
    (
        "istio-injection: enabled, istio.io/rev: canary",
        "",
        "",
        INJECTED,
    ),
    ("istio-injection: disabled", "", "", NAMESPACE_OUT),
    (
        "istio-injection: disabled",
        "sidecar.istio.io/inject: 'true'",
        "",
        NAMESPACE_OUT,
    ),
    (
        "istio-injection: disabled",
        "",
        "injectByDefault: true",
        NAMESPACE_OUT,
    ),
    ("istio.io/rev: default", "", "", INJECTED),
    ("istio.io/rev: canary", "", "", OTHER),
    (
        "istio.io/rev: canary",
        "sidecar.istio.io/inject: 'false'",
        "revision: canary",
        POD_OUT,
    ),
    ("", "", "injectByDefault: true", INJECTED),
    (
        "",
        "sidecar.istio.io/inject: 'false'",
        "injectByDefault: true",
        POD_OUT,
    ),
];

#[test]
fn labels_decide_as_in_istio() {
    for (namespace, pod, settings, expected) in DECISIONS {
        let head =
            format!("namespace: {{name: shop, labels: {{{namespace}}}}}\nsettings: {{{settings}}}");
        let pod = format!("metadata: {{name: p, labels: {{{pod}}}}}\n{SPEC}");
        assert_eq!(outcome(&head, &pod), *expected, "{head} {pod}");
    }
}

#[test]
fn the_annotation_counts_where_no_label_does() {
    let head = "namespace: {name: shop, labels: {istio-injection: enabled}}";
    let pod = |labels: &str| {
        format!(
            "metadata: {{labels: {{{labels}}}, annotations: {{sidecar.istio.io/inject: 'false'}}}}\n{SPEC}"
        )
    };
    assert_eq!(outcome(head, &pod("")), POD_OUT);
    assert_eq!(
        outcome(head, &pod("sidecar.istio.io/inject: 'true'")),
        INJECTED
    );
}

#[test]
fn some_pods_are_never_injected() {
    let enabled =
        |name: &str| format!("namespace: {{name: {name}, labels: {{istio-injection: enabled}}}}");
    let pod = format!("metadata: {{}}\n{SPEC}");
    assert_eq!(
        outcome(&enabled("kube-system"), &pod),
        "namespace kube-system belongs to Kubernetes itself"
    );
    let host = "metadata: {}\nspec: {hostNetwork: true, containers: [{name: a}]}\n";
    assert_eq!(
        outcome(&enabled("shop"), host),
        "the pod uses the host's network"
    );
}

#[test]
fn a_pod_has_its_proxy_if_annotation_and_container_say_so() {
    let head = "namespace: {name: shop, labels: {istio-injection: enabled}}";
    let done = "metadata: {annotations: {sidecar.istio.io/status: '{}'}}\n";
    let app = "containers: [{name: a, image: a}]";
    let proxy = "{name: istio-proxy, image: p}";
    for spec in [
        format!("spec: {{{app}, initContainers: [{proxy}]}}\n"),
        format!("spec: {{containers: [{proxy}]}}\n"),
    ] {
        let outcome = outcome(head, &format!("{done}{spec}"));
        assert_eq!(outcome, "the pod has its proxy already");
    }
    assert_eq!(outcome(head, &format!("{done}{SPEC}")), INJECTED);
}

const REFUSED: &[(&str, &str, &str)] = &[
    (
        "traffic.sidecar.istio.io/includeInboundPorts",
        "http",
        "\"http\" is not a port from 1 to 65535 (\"*\" stands alone and means all)",
    ),
    (
        "traffic.sidecar.istio.io/includeInboundPorts",
        "80,*",
        "\"*\" is not a port from 1 to 65535 (\"*\" stands alone and means all)",
    ),
    (
        "traffic.sidecar.istio.io/excludeInboundPorts",
        "80,,81",
        "\"\" is not a port from 1 to 65535",
    ),
    (
        "traffic.sidecar.istio.io/excludeOutboundPorts",
        "70000",
        "\"70000\" is not a port from 1 to 65535",
    ),
    (
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        "10.0.0.1",
        "\"10.0.0.1\" is not an IP range: write for example 10.0.0.0/8 or 10.1.2.3/32 (\"*\" stands alone and means all)",
    ),
    (
        "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        "*",
        "\"*\" is not an IP range: write for example 10.0.0.0/8 or 10.1.2.3/32",
    ),
    (
        "sidecar.istio.io/interceptionMode",
        "TPROXY",
        "TPROXY is not implemented yet; use REDIRECT",
    ),
    (
        "sidecar.istio.io/proxyCPU",
        "lots",
        "write a quantity, for example 100m or 128Mi",
    ),
    (
        "sidecar.istio.io/nativeSidecar",
        "on",
        "write \"true\" or \"false\"",
    ),
    (
        "sidecar.istio.io/logLevel",
        "loud",
        "use one of trace, debug, info, warning, error, critical, off",
    ),
    (
        "status.sidecar.istio.io/port",
        "0",
        "\"0\" is not a port from 1 to 65535",
    ),
    (
        "readiness.status.sidecar.istio.io/periodSeconds",
        "-1",
        "write a whole number",
    ),
    (
        "inject.istio.io/templates",
        "sidecar,spire",
        "only the templates \"sidecar\" and \"gateway\" are implemented yet, one at a time",
    ),
    (
        "proxy.istio.io/config",
        "concurency: 2",
        "concurency: unknown field; did you mean \"concurrency\"?",
    ),
    (
        "traffic.sidecar.istio.io/excludeInterfaces",
        "eth0,net/1",
        "\"net/1\" is not the name of a network interface",
    ),
    (
        "sidecar.istio.io/userVolume",
        "[]",
        "invalid type: sequence, expected a map at line 1 column 0; write a JSON object from a volume's name to its fields, such as {\"certs\":{\"secret\":{\"secretName\":\"certs\"}}}",
    ),
    (
        "sidecar.istio.io/userVolumeMount",
        "{\"certs\":1}",
        "certs is not an object; write a JSON object from a volume's name to its fields, such as {\"certs\":{\"secret\":{\"secretName\":\"certs\"}}}",
    ),
    (
        "prometheus.io/port",
        "15090",
        "the port is the proxy's own; name the application's",
    ),
];

#[test]
fn a_bad_annotation_is_named() {
    let head = "namespace: {name: shop, labels: {istio-injection: enabled}}";
    for (name, value, problem) in REFUSED {
        let pod = format!("metadata: {{annotations: {{{name}: {value:?}}}}}\n{SPEC}");
        let expected = format!("error: annotation {name}={value:?} is not valid: {problem}");
        assert_eq!(outcome(head, &pod), expected);
    }
    let pod =
        format!("metadata: {{annotations: {{sidecar.istio.io/bootstrapOverride: b}}}}\n{SPEC}");
    assert_eq!(
        outcome(head, &pod),
        "error: annotation sidecar.istio.io/bootstrapOverride is not implemented yet; remove it"
    );
}

#[test]
fn a_pod_that_is_none_is_refused() {
    let head = "namespace: {name: shop, labels: {istio-injection: enabled}}";
    let cases = [
        (
            "metadata: {}\n",
            "error: spec: required, but missing: a pod has a spec with containers",
        ),
        (
            "spec: {containers: []}\n",
            "error: spec.containers: required, but missing: a pod has at least one container",
        ),
        (
            "spec: {containers: [{name: istio-proxy, image: auto}]}\n",
            "error: spec.containers: istio-proxy is the only container, and a sidecar needs an application beside it; for a gateway, add the annotation inject.istio.io/templates: gateway",
        ),
        (
            "spec: {containers: [{name: a}], volumes: 1}\n",
            "error: spec.volumes: must be a list",
        ),
        (
            "metadata: {labels: [a]}\nspec: {containers: [{name: a}]}\n",
            "error: metadata.labels: must be an object",
        ),
        (
            "spec: {containers: [{name: a, livenessProbe: {httpGet: {port: web}}}]}\n",
            "error: spec.containers[0].livenessProbe.httpGet.port: the container declares no port named \"web\"; add it to its ports",
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(outcome(head, pod), expected);
    }
}

#[test]
fn containers_that_came_after_injection_are_served_too() {
    let head = "namespace: {name: shop, labels: {istio-injection: enabled}}";
    let pod =
        "metadata: {}\nspec: {containers: [{name: a, livenessProbe: {tcpSocket: {port: 1}}}]}\n";
    let mut case = Case::parse(&format!("{head}\n---\n{pod}"));
    let apply = |case: &mut Case| match inject(&case.pod, &case.context()).unwrap() {
        Outcome::Patch(patch) => json_patch::patch(&mut case.pod, &patch).unwrap(),
        Outcome::Skip(reason) => panic!("{reason}"),
    };
    apply(&mut case);
    let late = serde_json::json!({"name": "late", "readinessProbe": {"httpGet": {"port": 80}}});
    case.pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(late);
    apply(&mut case);
    let probe = &case.pod["spec"]["containers"][1]["readinessProbe"]["httpGet"];
    assert_eq!(probe["path"], "/app-health/late/readyz");
    let env = case.pod["spec"]["initContainers"][1]["env"]
        .as_array()
        .unwrap();
    let value = |name: &str| {
        let found = env.iter().find(|item| item["name"] == name).unwrap();
        found["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("ISTIO_META_APP_CONTAINERS"), "a,late");
    let probers = value("ISTIO_KUBE_APP_PROBERS");
    assert!(probers.contains("/app-health/a/livez") && probers.contains("/app-health/late/readyz"));
    let again = inject(&case.pod, &case.context()).unwrap();
    assert_eq!(again, Outcome::Skip(mesh_injector::Reason::AlreadyInjected));
}
