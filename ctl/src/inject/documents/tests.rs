use super::*;

fn inject(text: &str) -> anyhow::Result<(String, Vec<String>)> {
    let settings = MeshSettings::of_values(&[], "istio-system", "default")?;
    let mut injection = Injection::new(&settings, "shop");
    let injected = injection.manifests(text, "app.yaml")?;
    Ok((injected, injection.notes))
}

fn documents(text: &str) -> Vec<Value> {
    let parse = |document: Document<'_>| serde_yaml::from_str(document.text).unwrap();
    split(text).into_iter().map(parse).collect()
}

const OTHERS: &str = "\
# A comment.
apiVersion: v1
kind: Service   # another
metadata: {name: web}
---
---
kind: ConfigMap
apiVersion: v1
metadata:
    name:   odd
";

#[test]
fn what_is_no_workload_stays_to_the_byte() {
    assert_eq!(inject(OTHERS).unwrap(), (OTHERS.to_owned(), Vec::new()));
    assert_eq!(inject("").unwrap().0, "");
}

#[test]
fn every_kind_of_workload_gets_its_proxy() {
    let template =
        "{metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}";
    for (kind, path) in WORKLOADS {
        let spec = match kind {
            "CronJob" => format!("{{jobTemplate: {{spec: {{template: {template}}}}}}}"),
            _ => format!("{{template: {template}}}"),
        };
        let text =
            format!("apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec: {spec}\n");
        let (injected, notes) = inject(&format!("{OTHERS}---\n{text}")).unwrap();
        assert!(
            injected.starts_with(OTHERS) && notes.is_empty(),
            "{notes:?}"
        );
        let object = documents(&injected).pop().unwrap();
        let pod = object.pointer(path).unwrap();
        let proxy = &pod["spec"]["initContainers"][1];
        assert_eq!(proxy["name"], "istio-proxy", "{kind}");
        assert_eq!(pod["metadata"]["ownerReferences"], Value::Null);
        let owner = format!(
            "kubernetes://apis/apps/v1/namespaces/shop/{}s/web",
            kind.to_lowercase()
        );
        let env = proxy["env"].as_array().unwrap();
        let said = env
            .iter()
            .find(|item| item["name"] == "ISTIO_META_OWNER")
            .unwrap();
        assert_eq!(said["value"], owner);
        // Once more: nothing left to do.
        let (again, notes) = inject(&injected).unwrap();
        assert_eq!(again, injected);
        let note = format!("{kind} shop/web stays as it is: the pod has its proxy already");
        assert_eq!(notes, [note]);
    }
}

#[test]
fn pods_and_lists_are_injected_and_the_rest_of_a_list_stays() {
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: other}
  spec: {containers: [{name: web, image: web}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: host}
  spec: {hostNetwork: true, containers: [{name: web, image: web}]}
";
    let (injected, notes) = inject(list).unwrap();
    let items = documents(&injected).remove(0)["items"].clone();
    assert_eq!(items[0]["metadata"], json!({"name": "web"}));
    assert_eq!(items[1]["spec"]["initContainers"][0]["name"], "istio-init");
    assert_eq!(items[2]["spec"].get("initContainers"), None);
    assert_eq!(
        notes,
        ["Pod shop/host stays as it is: the pod uses the host's network"]
    );
}

#[test]
fn what_cannot_be_injected_is_named() {
    let pod = "kind: Pod\nmetadata: {name: web, annotations: {sidecar.istio.io/logLevel: loud}}\n\
               spec: {containers: [{name: web}]}\n";
    let cases = [
        (
            format!("{OTHERS}---\n{pod}"),
            "app.yaml:11: Pod shop/web: annotation sidecar.istio.io/logLevel=\"loud\" is not valid: \
             use one of trace, debug, info, warning, error, critical, off",
        ),
        (
            "kind: Job\nmetadata: {name: a}\n".to_owned(),
            "app.yaml:1: Job shop/a has no spec.template",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(format!("{:#}", inject(&text).unwrap_err()), expected);
    }
    assert!(format!("{:#}", inject("a: [").unwrap_err()).starts_with("app.yaml:1: not YAML: "));
}

#[test]
fn settings_come_from_values_as_an_installation_makes_them() {
    let values = "global: {hub: registry.example, tag: '2', proxy: {logLevel: debug}}\n\
                  meshConfig: {trustDomain: example.org}\n";
    let settings = MeshSettings::of_values(&[values.to_owned()], "mesh", "canary").unwrap();
    assert_eq!(
        settings.injector.proxy_image,
        "registry.example/meshproxy:2"
    );
    assert_eq!(settings.injector.revision, "canary");
    assert_eq!(settings.mesh.trust_domain, "example.org");
    assert_eq!(
        settings.mesh.default_config.discovery_address,
        "istiod-canary.mesh.svc:15012"
    );
    let wrong = ["global: {hubs: h}".to_owned()];
    let error = MeshSettings::of_values(&wrong, "mesh", "default").unwrap_err();
    assert!(error.to_string().contains("hubs"), "{error}");
}

#[test]
fn a_field_that_is_no_object_is_named() {
    let refused = |text: &str| format!("{:#}", inject(text).unwrap_err());
    let deployment = |template: &str| {
        let head = "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n";
        format!("{OTHERS}---\n{head}spec: {{template: {template}}}\n")
    };
    for (template, field) in [
        ("text", ""),
        ("{metadata: text}", ".metadata"),
        ("{metadata: [1]}", ".metadata"),
        ("{metadata: {labels: text}}", ".metadata.labels"),
        ("{metadata: {annotations: 1}}", ".metadata.annotations"),
        ("{spec: true}", ".spec"),
    ] {
        assert_eq!(
            refused(&deployment(template)),
            format!("app.yaml:11: Deployment shop/web: spec.template{field} is not an object")
        );
    }
    let pod = "kind: Pod\napiVersion: v1\nmetadata: text\n";
    assert_eq!(
        refused(pod),
        "app.yaml:1: Pod shop/: metadata is not an object"
    );
}
