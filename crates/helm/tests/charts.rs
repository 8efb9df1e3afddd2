//! The charts themselves: that they render, and to what.

use mesh_helm::{BUILTIN, Chart, Object, Release, profile};
use serde_json::{Value, json};

#[path = "support/cases.rs"]
mod cases;

use cases::{cases, parts};

fn render(chart: &str, release: &str, values: &Value) -> Vec<Object> {
    try_render(chart, release, values).expect("renders")
}

fn try_render(chart: &str, release: &str, values: &Value) -> Result<Vec<Object>, String> {
    Chart::builtin(chart)
        .expect("built in")
        .render(&Release::new(release, "istio-system"), values)
        .map_err(|error| error.to_string())
}

fn named<'a>(objects: &'a [Object], kind: &str) -> &'a Object {
    let mut found = objects.iter().filter(|object| object.kind() == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "several of kind {kind}");
    object
}

fn kinds(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(Object::kind).collect()
}

#[test]
fn control_plane_is_complete_and_in_order() {
    let objects = render("meshd", "istiod", &json!({}));
    let names: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", object.kind(), object.name()))
        .collect();
    assert_eq!(
        names,
        [
            "PodDisruptionBudget istiod",
            "ServiceAccount istiod",
            "ConfigMap istio-sidecar-injector",
            "ConfigMap istio",
            "ClusterRole istiod-clusterrole-istio-system",
            "ClusterRoleBinding istiod-clusterrole-istio-system",
            "Role istiod",
            "RoleBinding istiod",
            "Service istiod",
            "Deployment istiod",
            "HorizontalPodAutoscaler istiod",
            "MutatingWebhookConfiguration istio-sidecar-injector",
            "ValidatingWebhookConfiguration istio-validator-istio-system",
        ]
    );
    for object in &objects {
        let labels = &object.manifest["metadata"]["labels"];
        assert_eq!(labels["istio.io/rev"], "default", "{}", object.source);
        assert_eq!(labels["app.kubernetes.io/part-of"], "istio");
    }
}

#[test]
fn control_plane_runs_with_the_least_rights() {
    let objects = render("meshd", "istiod", &json!({}));
    let pod = &named(&objects, "Deployment").manifest["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        })
    );
    let rules = &named(&objects, "ClusterRole").manifest["rules"];
    for rule in rules.as_array().expect("rules") {
        let verbs = rule["verbs"].as_array().expect("verbs");
        assert!(
            !verbs.contains(&"*".into()) && !verbs.contains(&"delete".into()),
            "{rule}"
        );
    }
}

#[test]
fn mesh_config_is_the_values_with_addresses_filled_in() {
    let values = json!({"meshConfig": {
        "accessLogFile": "/dev/stdout", "trustDomain": "example.org", "enablePrometheusMerge": null,
        "defaultConfig": {"holdApplicationUntilProxyStarts": true},
    }});
    let chart = Chart::builtin("meshd").expect("built in");
    let objects = chart
        .render(&Release::new("istiod", "mesh"), &values)
        .expect("renders");
    let config = objects
        .iter()
        .find(|object| object.name() == "istio")
        .expect("made");
    assert_eq!(
        config.manifest["data"]["mesh"],
        "accessLogFile: /dev/stdout\ntrustDomain: example.org\nrootNamespace: \"mesh\"\ndefaultConfig:\n  discoveryAddress: \"istiod.mesh.svc:15012\"\n  holdApplicationUntilProxyStarts: true"
    );
    assert!(
        try_render("meshd", "istiod", &json!({"configMap": false}))
            .expect("renders")
            .iter()
            .all(|object| object.name() != "istio")
    );
}

#[test]
fn a_revision_shares_no_name_and_no_selector() {
    let default = render("meshd", "istiod", &json!({}));
    let canary = render("meshd", "istiod-canary", &json!({"revision": "canary"}));
    let names = |objects: &[Object]| -> Vec<(String, String)> {
        objects
            .iter()
            .map(|object| (object.kind().to_owned(), object.name().to_owned()))
            .collect()
    };
    let taken = names(&default);
    for name in names(&canary) {
        assert!(!taken.contains(&name), "{name:?} is in both");
    }
    let selector =
        |objects: &[Object]| named(objects, "Service").manifest["spec"]["selector"].clone();
    assert_eq!(
        selector(&canary),
        json!({"app": "istiod", "istio.io/rev": "canary"})
    );
    assert_eq!(
        selector(&default),
        json!({"app": "istiod", "istio.io/rev": "default"})
    );
    let webhooks = |objects: &[Object]| -> Vec<String> {
        let webhooks = &named(objects, "MutatingWebhookConfiguration").manifest["webhooks"];
        webhooks
            .as_array()
            .expect("a list")
            .iter()
            .map(|webhook| webhook["name"].to_string())
            .collect()
    };
    assert_eq!(webhooks(&canary).len(), 2);
    assert_eq!(
        webhooks(&default),
        ["rev.namespace", "rev.object", "namespace", "object"]
            .map(|prefix| format!("\"{prefix}.sidecar-injector.istio.io\""))
    );
    // "default" by name is the default revision, too.
    assert_eq!(
        render("meshd", "istiod", &json!({"revision": "default"})),
        default
    );
}

/// What happens to the webhook's failure policy afterwards is the control plane's business.
#[test]
fn validation_fails_open_only_at_first() {
    let chart = Chart::builtin("meshd").expect("built in");
    let policy = |upgrade: bool, values: Value| {
        let release = Release {
            upgrade,
            ..Release::new("istiod", "istio-system")
        };
        let objects = chart.render(&release, &values).expect("renders");
        named(&objects, "ValidatingWebhookConfiguration").manifest["webhooks"][0]["failurePolicy"]
            .clone()
    };
    assert_eq!(policy(false, json!({})), "Ignore");
    assert_eq!(policy(true, json!({})), Value::Null);
    assert_eq!(
        policy(true, json!({"validationFailurePolicy": "Fail"})),
        "Fail"
    );
}

#[test]
fn scale_follows_the_values() {
    let single = render("meshd", "istiod", &json!({"autoscaleEnabled": false}));
    assert!(!kinds(&single).contains(&"HorizontalPodAutoscaler"));
    assert!(!kinds(&single).contains(&"PodDisruptionBudget"));
    assert_eq!(named(&single, "Deployment").manifest["spec"]["replicas"], 1);
    let several = render(
        "meshd",
        "istiod",
        &json!({"autoscaleEnabled": false, "replicaCount": 3}),
    );
    assert!(kinds(&several).contains(&"PodDisruptionBudget"));
    let scaled = render("meshd", "istiod", &json!({}));
    let scaler = &named(&scaled, "HorizontalPodAutoscaler").manifest["spec"];
    assert_eq!(
        (&scaler["minReplicas"], &scaler["maxReplicas"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(
        named(&scaled, "Deployment").manifest["spec"]["replicas"],
        Value::Null
    );
}

#[test]
fn gateway_is_named_after_its_release() {
    let objects = render("gateway", "istio-ingressgateway", &json!({}));
    assert_eq!(
        kinds(&objects),
        [
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "Service",
            "Deployment",
            "HorizontalPodAutoscaler"
        ]
    );
    for object in &objects {
        assert_eq!(object.name(), "istio-ingressgateway");
    }
    let labels = &named(&objects, "Deployment").manifest["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["istio"], "ingressgateway");
    assert_eq!(labels["sidecar.istio.io/inject"], "true");
    let named_otherwise = render(
        "gateway",
        "any",
        &json!({"name": "edge", "labels": {"istio": "edge-1"}}),
    );
    let selector = &named(&named_otherwise, "Service").manifest["spec"]["selector"];
    assert_eq!(*selector, json!({"app": "edge", "istio": "edge-1"}));
}

#[test]
fn gateway_marks_its_image_where_it_is_always_to_be_pulled() {
    for (policy, image) in [("", "auto"), ("Never", "auto"), ("Always", "auto:latest")] {
        let objects = render("gateway", "edge", &json!({"imagePullPolicy": policy}));
        let spec = &named(&objects, "Deployment").manifest["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["image"], image, "{policy}");
    }
}

/// A privilege that is asked for only where it is needed.
#[test]
fn gateway_may_listen_below_1024_if_it_is_to() {
    let sysctls = |target: Value| {
        let mut port = json!({"name": "http", "port": 80});
        if !target.is_null() {
            port["targetPort"] = target;
        }
        let objects = render("gateway", "edge", &json!({"service": {"ports": [port]}}));
        let pod = &named(&objects, "Deployment").manifest["spec"]["template"]["spec"];
        pod["securityContext"]["sysctls"].clone()
    };
    let low = json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
    assert_eq!(sysctls(json!(80)), low);
    assert_eq!(sysctls(Value::Null), low);
    assert_eq!(sysctls(json!(8080)), Value::Null);
}

#[test]
fn gateway_takes_its_service_from_the_values() {
    let values = json!({"service": {
        "type": "LoadBalancer", "loadBalancerIP": "192.0.2.1", "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["198.51.100.0/24"], "annotations": {"example.org/pool": "a"},
        "ports": [{"name": "tcp", "port": 5432, "targetPort": 5432}],
    }});
    let objects = render("gateway", "edge", &values);
    let service = named(&objects, "Service");
    assert_eq!(
        service.manifest["metadata"]["annotations"],
        json!({"example.org/pool": "a"})
    );
    let spec = &service.manifest["spec"];
    assert_eq!(spec["loadBalancerIP"], "192.0.2.1");
    assert_eq!(spec["externalTrafficPolicy"], "Local");
    assert_eq!(spec["loadBalancerSourceRanges"], json!(["198.51.100.0/24"]));
    assert_eq!(spec["ports"], values["service"]["ports"]);
    let none = render("gateway", "edge", &json!({"service": {"type": "None"}}));
    assert!(!kinds(&none).contains(&"Service"));
}

#[test]
fn unknown_values_are_refused_with_the_key_that_was_meant() {
    let cases = [
        (
            "meshd",
            json!({"globl": {"hub": "x"}}),
            "no value \"globl\": did you mean \"global\"?",
        ),
        (
            "meshd",
            json!({"global": {"proxy": {"resuorces": {}}}}),
            "no value \"global.proxy.resuorces\": did you mean \"global.proxy.resources\"?",
        ),
        ("meshd", json!({"hubb": "x"}), "did you mean \"hub\"?"),
        (
            "meshd",
            json!({"imagePullPolicy": "Never"}),
            "did you mean \"global.imagePullPolicy\"?",
        ),
        (
            "gateway",
            json!({"service": {"ports": [{"name": "x", "port": 1, "tragetPort": 2}]}}),
            "no value \"service.ports[0].tragetPort\"",
        ),
        (
            "base",
            json!({"something": 1}),
            "chart base has no value \"something\" (",
        ),
        (
            "meshd",
            json!({"autoscaleMin": "two"}),
            "chart meshd: value \"autoscaleMin\": \"two\" is not of type \"integer\"",
        ),
        (
            "gateway",
            json!({"service": null}),
            "chart gateway: \"service\" is a required property",
        ),
        (
            "gateway",
            json!({"service": {"type": "External"}}),
            "value \"service.type\": \"External\" is none of [\"LoadBalancer\",\"NodePort\",",
        ),
    ];
    for (chart, values, expected) in cases {
        let error = try_render(chart, "x", &values).expect_err(expected);
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains("no value") || error.contains("helm show values"),
            "{error}"
        );
    }
}

#[test]
fn every_case_renders() {
    for case in cases() {
        let chart = Chart::builtin(case.chart).expect("built in");
        let objects = chart.render(&case.release, &case.values);
        let objects = objects.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for object in objects {
            let annotations = &object.manifest["metadata"]["annotations"];
            assert!(annotations["helm.sh/hook"].is_null(), "{}", object.source);
        }
    }
}

#[test]
fn profiles_switch_on_what_they_say() {
    let names = |name| -> Vec<String> {
        parts(&profile(name).expect("built in"))
            .into_iter()
            .map(|(_, name, _)| name)
            .collect()
    };
    assert_eq!(
        names("default"),
        ["istio-base", "istiod", "istio-ingressgateway"]
    );
    assert_eq!(
        names("demo"),
        [
            "istio-base",
            "istiod",
            "istio-egressgateway",
            "istio-ingressgateway"
        ]
    );
    assert_eq!(names("minimal"), ["istio-base", "istiod"]);
    assert!(names("empty").is_empty());
    let error = profile("dmeo").expect_err("unknown").to_string();
    assert_eq!(
        error,
        "there is no built-in profile \"dmeo\"; there are default, demo, empty, minimal"
    );
}

#[test]
fn versions_are_the_workspaces() {
    for name in BUILTIN {
        let chart = Chart::builtin(name).expect("built in");
        assert_eq!(chart.name(), *name);
        assert_eq!(
            chart.version(),
            env!("CARGO_PKG_VERSION"),
            "{name}/Chart.yaml"
        );
    }
    let meshd = Chart::builtin("meshd").expect("built in");
    assert_eq!(
        meshd.values()["global"]["tag"],
        env!("CARGO_PKG_VERSION"),
        "meshd/values.yaml"
    );
}
