//! `meshctl inject` and `check-inject` against a real API server whose mesh has no running control
//! plane, and what Kubernetes itself says then.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "a test may panic"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::discovery::Discovery;
use kube::{Client, ResourceExt};
use mesh_helm::{Chart, Release};
use mesh_kubernetes::testing::ApiServer;
use serde_json::{Value, json};

const MESH: &str = "mesh-system";

struct Cluster {
    client: Client,
    kubeconfig: PathBuf,
}

/// Exit code 0, standard output, standard error.
type Said = (bool, String, String);

impl Cluster {
    async fn apply(&self, object: Value) {
        let found: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let kinds = Discovery::new(self.client.clone())
            .run_aggregated()
            .await
            .unwrap();
        let (resource, _) = kinds.resolve_object(&found).unwrap();
        let api: Api<DynamicObject> = match found.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let how = PatchParams::apply("test").force();
        api.patch(&found.name_any(), &how, &Patch::Apply(&object))
            .await
            .unwrap();
    }

    fn meshctl(&self, arguments: &str, input: &str) -> Said {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// The API server's answer to a new pod.
    async fn pod(&self, namespace: &str) -> Result<Pod, String> {
        let pod = json!({"metadata": {"name": "web-1", "labels": {"app": "web"}}, "spec": spec()});
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let created = api.create(&PostParams::default(), &pod).await;
        created.map_err(|error| match error {
            kube::Error::Api(status) => status.message.clone(),
            other => panic!("{other}"),
        })
    }
}

fn spec() -> Value {
    json!({"serviceAccountName": "default", "containers": [{"name": "web", "image": "web"}]})
}

fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec()},
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injection_is_done_and_explained() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let cluster = Cluster {
        client: server.client().await,
        kubeconfig: server.kubeconfig_path().to_owned(),
    };
    for (name, labels) in [
        (MESH, json!({})),
        ("shop", json!({"istio-injection": "enabled"})),
        ("plain", json!({})),
    ] {
        let metadata = json!({"name": name, "labels": labels});
        cluster
            .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
            .await;
    }
    let (good, told, _) = cluster.meshctl("check-inject -n shop", "");
    assert!(
        !good && told.contains("install a mesh: meshctl install"),
        "{told}"
    );

    let values = json!({"global": {"hub": "registry.example", "tag": "7"}});
    let release = Release::new("istiod", MESH);
    for object in Chart::builtin("meshd")
        .unwrap()
        .render(&release, &values)
        .unwrap()
    {
        let kinds = ["ConfigMap", "MutatingWebhookConfiguration", "Service"];
        if kinds.contains(&object.kind()) {
            cluster.apply(object.manifest).await;
        }
    }
    for namespace in ["shop", "plain"] {
        cluster.apply(deployment(namespace)).await;
    }
    injects_as_the_cluster_would(&cluster);
    explains_both_namespaces(&cluster).await;
}

fn injects_as_the_cluster_would(cluster: &Cluster) {
    let text = serde_yaml::to_string(&deployment("shop")).unwrap();
    let (good, injected, notes) = cluster.meshctl("inject -f - -i mesh-system", &text);
    assert!(good && notes.is_empty(), "{notes}");
    assert!(
        injected.contains("image: registry.example/meshproxy:7"),
        "{injected}"
    );
    let (good, again, notes) = cluster.meshctl("inject -f - --offline", &injected);
    assert!(good && again == injected);
    assert_eq!(
        notes,
        "Deployment shop/web stays as it is: the pod has its proxy already\n"
    );
    let (good, printed, error) = cluster.meshctl("inject -f -", &text);
    assert!(!good && printed.is_empty());
    assert!(
        error.contains("no ConfigMap istio-system/istio-sidecar-injector"),
        "{error}"
    );
    assert!(error.contains("--offline"), "{error}");
}

async fn explains_both_namespaces(cluster: &Cluster) {
    let (good, told, _) = cluster.meshctl("check-inject deploy/web -n shop", "");
    assert!(good, "{told}");
    assert!(
        told.contains("deployment web in namespace shop: new pods get a proxy."),
        "{told}"
    );
    assert!(
        told.contains("the label istio-injection=enabled, which selects revision default"),
        "{told}"
    );
    assert!(
        told.contains("service istiod in namespace mesh-system has no ready endpoint"),
        "{told}"
    );
    // What it warns of: no pod without its proxy, and everybody else goes on.
    let error = cluster.pod("shop").await.unwrap_err();
    let failed = "failed calling webhook \"namespace.sidecar-injector.istio.io\"";
    assert!(
        error.contains(failed) && error.contains("istiod"),
        "{error}"
    );
    cluster.pod("plain").await.unwrap();

    let fix = "Fix:  kubectl label namespace plain istio-injection=enabled, then restart the pods";
    for target in ["deploy/web", "web-1", "-l app=web"] {
        let (good, told, _) = cluster.meshctl(&format!("check-inject {target} -n plain"), "");
        assert!(!good && told.contains(fix), "{told}");
    }
    let (_, told, _) = cluster.meshctl("check-inject web-1 -n plain -o json", "");
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&answer["hasProxy"], &answer["injected"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(answer["webhooks"].as_array().unwrap().len(), 4);
    let (good, _, error) = cluster.meshctl("check-inject nobody -n plain", "");
    assert!(
        !good && error.contains("there is no pod nobody in namespace plain"),
        "{error}"
    );
    let (_, _, error) = cluster.meshctl("check-inject -n nowhere", "");
    assert!(error.contains("there is no namespace nowhere"), "{error}");
}
