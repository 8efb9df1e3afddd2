use serde_json::{Value, json};

use super::*;

/// The webhooks that the chart installs for a revision.
fn hooks(revision: &str) -> Vec<Hook> {
    let chart = mesh_helm::Chart::builtin("meshd").unwrap();
    let release = mesh_helm::Release::new("istiod", "istio-system");
    let values = json!({"revision": revision});
    let objects = chart.render(&release, &values).unwrap();
    let kind = "MutatingWebhookConfiguration";
    let object = objects.iter().find(|object| object.kind() == kind).unwrap();
    let mut manifest = object.manifest.clone();
    for hook in manifest["webhooks"].as_array_mut().unwrap() {
        hook["clientConfig"]["caBundle"] = "bmV3".into();
    }
    Hook::of(&serde_json::from_value(manifest).unwrap())
}

fn subject(namespace: Value, pod: Value) -> Subject {
    let mut spec = json!({"containers": [{"name": "web", "image": "web"}]});
    if pod["hostNetwork"] == true {
        spec["hostNetwork"] = true.into();
    }
    Subject {
        name: "deployment web".to_owned(),
        namespace: mesh_injector::Namespace {
            name: "shop".to_owned(),
            labels: serde_json::from_value(namespace).unwrap(),
            ..Default::default()
        },
        pod: json!({"metadata": pod["metadata"], "spec": spec}),
        has_proxy: None,
    }
}

fn pod(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}})
}

/// Namespace's labels, pod, whether it is injected, reason, remedy.
type Case = (Value, Value, bool, &'static str, Option<&'static str>);

fn check(hooks: &[Hook], cases: Vec<Case>) {
    for (namespace, pod, injected, reason, remedy) in cases {
        let subject = subject(namespace, pod);
        let verdict = judge(hooks, &subject, None);
        assert_eq!(verdict.reason, reason, "{subject:?}");
        assert_eq!(verdict.is_injected(), injected, "{reason}");
        assert_eq!(verdict.remedy.as_deref(), remedy);
    }
}

#[test]
fn the_deciding_label_and_the_remedy_are_named() {
    let enabled = || json!({"istio-injection": "enabled"});
    check(
        &hooks("default"),
        vec![
            (
                enabled(),
                pod(json!({})),
                true,
                "namespace shop has the label istio-injection=enabled, which selects revision default",
                None,
            ),
            (
                json!({}),
                pod(json!({"sidecar.istio.io/inject": "true"})),
                true,
                "the pod has the label sidecar.istio.io/inject=true, which selects revision default",
                None,
            ),
            (
                json!({}),
                pod(json!({})),
                false,
                "neither namespace shop nor the pod asks for a proxy",
                Some("kubectl label namespace shop istio-injection=enabled, then restart the pods"),
            ),
            (
                json!({"istio-injection": "disabled"}),
                pod(json!({"sidecar.istio.io/inject": "true"})),
                false,
                "namespace shop has the label istio-injection=disabled",
                Some("kubectl label namespace shop istio-injection=enabled --overwrite"),
            ),
            (
                enabled(),
                pod(json!({"sidecar.istio.io/inject": "false"})),
                false,
                "the pod has the label sidecar.istio.io/inject=false",
                Some("remove the label from the pod template"),
            ),
            (
                json!({"istio.io/rev": "canary"}),
                pod(json!({})),
                false,
                "the label istio.io/rev=canary names no control plane; there is default",
                Some("kubectl label namespace shop istio.io/rev=default --overwrite"),
            ),
        ],
    );
}

#[test]
fn a_pod_can_rule_itself_out() {
    let enabled = || json!({"istio-injection": "enabled"});
    check(
        &hooks("default"),
        vec![
            (
                enabled(),
                json!({"metadata": {}, "hostNetwork": true}),
                false,
                "the pod uses the host's network",
                Some(
                    "run it without hostNetwork, where capture would change the node's own traffic",
                ),
            ),
            (
                enabled(),
                json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}),
                false,
                "the pod says sidecar.istio.io/inject=false",
                Some("remove sidecar.istio.io/inject=false from the pod template"),
            ),
        ],
    );
}

#[test]
fn revisions_are_told_apart() {
    check(
        &hooks("canary"),
        vec![
            (
                json!({"istio.io/rev": "canary"}),
                pod(json!({})),
                true,
                "namespace shop has the label istio.io/rev=canary, which selects revision canary",
                None,
            ),
            (
                json!({"istio-injection": "enabled"}),
                pod(json!({})),
                false,
                "namespace shop has the label istio-injection=enabled, which is for revision default; there is canary",
                Some("kubectl label namespace shop istio-injection- istio.io/rev=canary"),
            ),
        ],
    );
    check(
        &[],
        vec![(
            json!({"istio-injection": "enabled"}),
            pod(json!({})),
            false,
            "no webhook of the cluster injects proxies",
            Some("install a mesh: meshctl install"),
        )],
    );
}

#[test]
fn each_webhook_tells_what_keeps_it_from_matching() {
    let subject = subject(json!({"istio-injection": "disabled"}), pod(json!({})));
    let hooks = hooks("default");
    let found: Vec<(String, String)> = hooks
        .iter()
        .map(|hook| (hook.short_name(), hook.decide(&subject).unwrap_err()))
        .collect();
    let expected = [
        (
            "istio-sidecar-injector/rev.namespace",
            "namespace shop has no label istio.io/rev=default",
        ),
        (
            "istio-sidecar-injector/rev.object",
            "namespace shop has the label istio-injection=disabled",
        ),
        (
            "istio-sidecar-injector/namespace",
            "namespace shop has the label istio-injection=disabled, not enabled",
        ),
        (
            "istio-sidecar-injector/object",
            "namespace shop has the label istio-injection=disabled",
        ),
    ];
    let expected = expected.map(|(name, why)| (name.to_owned(), why.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn targets_are_named_as_for_kubectl() {
    let parse = |text: &str| Target::parse(Some(text), None).unwrap();
    assert_eq!(parse("web-1"), Target::Pod("web-1".to_owned()));
    assert_eq!(parse("pod/web-1"), Target::Pod("web-1".to_owned()));
    for name in ["deploy/web", "deployment.apps/web", "deployments/web"] {
        assert!(
            matches!(parse(name), Target::Workload(_, name) if name == "web"),
            "{name}"
        );
    }
    assert_eq!(Target::parse(None, None).unwrap(), Target::Any);
    let error = Target::parse(Some("svc/web"), None).unwrap_err();
    assert!(error.to_string().starts_with("svc makes no pods: "));
}

#[test]
fn the_namespace_may_follow_the_name() {
    for (target, name, namespace) in [
        ("web-1", "web-1", None),
        ("web-1.shop", "web-1", Some("shop")),
        ("deployment.apps/web", "deployment.apps/web", None),
        ("deploy/web.shop", "deploy/web", Some("shop")),
    ] {
        assert_eq!(without_namespace(target), (name.to_owned(), namespace));
    }
}
