//! `meshctl` against a real API server: install, repeat, check, upgrade, remove, and what it says
//! when something stands in the way. There are no controllers and no nodes, so no pod ever runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kubernetes/remains.rs"]
mod remains;
#[path = "kubernetes/rights.rs"]
mod rights;
#[path = "kubernetes/second_mesh.rs"]
mod second_mesh;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::discovery::{Discovery, verbs};
use kube::{Client, ResourceExt};
use mesh_kubernetes::testing::ApiServer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// They exist before, as no deletion of a namespace would end without controllers.
const NAMESPACE: &str = "istio-system";
const SECOND_NAMESPACE: &str = "mesh2";
/// No command takes longer, on the slowest machine.
const LONGEST_COMMAND: Duration = Duration::from_secs(120);

/// Kinds that the API server makes and removes by itself, some seconds after the objects they are for.
const DERIVED: [&str; 4] = ["APIService", "ComponentStatus", "Event", "IPAddress"];

/// What a command said, and whether it succeeded.
struct Said {
    success: bool,
    text: String,
}

impl Said {
    #[track_caller]
    fn has(&self, wanted: &str) -> &Self {
        assert!(
            self.text.contains(wanted),
            "no {wanted:?} in:\n{}",
            self.text
        );
        self
    }

    #[track_caller]
    fn ok(&self) -> &Self {
        assert!(self.success, "it failed:\n{}", self.text);
        self
    }

    #[track_caller]
    fn fails(&self) -> &Self {
        assert!(!self.success, "it succeeded:\n{}", self.text);
        self
    }
}

struct Cluster {
    server: ApiServer,
    client: Client,
    kubeconfig: PathBuf,
}

impl Cluster {
    async fn meshctl(&self, arguments: &str) -> Said {
        meshctl(&self.kubeconfig, arguments).await
    }

    async fn apply(&self, object: Value) {
        let found: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let kinds = Discovery::new(self.client.clone());
        let kinds = Box::pin(kinds.run_aggregated()).await.unwrap();
        let (resource, _) = kinds.resolve_object(&found).unwrap();
        let api: Api<DynamicObject> = match found.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let how = PatchParams::apply("somebody").force();
        Box::pin(api.patch(&found.name_any(), &how, &Patch::Apply(&object)))
            .await
            .unwrap();
    }

    /// Every object by kind, namespace and name, with its resource version.
    async fn objects(&self) -> BTreeSet<(String, String)> {
        let kinds =
            Discovery::new(self.client.clone()).exclude(&["coordination.k8s.io", "events.k8s.io"]);
        let kinds = Box::pin(kinds.run_aggregated()).await.unwrap();
        let mut found = BTreeSet::new();
        for (kind, can) in kinds
            .groups()
            .flat_map(|group| group.recommended_resources())
        {
            if !can.supports_operation(verbs::LIST) || DERIVED.contains(&kind.kind.as_str()) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
            for object in Box::pin(api.list(&ListParams::default())).await.unwrap() {
                let namespace = object.namespace().unwrap_or_default();
                let name = format!("{} {namespace}/{}", kind.kind, object.name_any());
                found.insert((name, object.resource_version().unwrap_or_default()));
            }
        }
        found
    }

    /// Nothing has come, gone or changed since `before`.
    #[track_caller]
    fn same<T: Ord + std::fmt::Debug>(now: &BTreeSet<T>, before: &BTreeSet<T>) {
        let differences: Vec<&T> = now.symmetric_difference(before).collect();
        assert!(differences.is_empty(), "{differences:#?}");
    }

    async fn names(&self) -> BTreeSet<String> {
        self.objects()
            .await
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }
}

fn command(kubeconfig: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command
        .args(arguments.split_whitespace())
        .env("KUBECONFIG", kubeconfig)
        // No local platform is meant.
        .env("XDG_STATE_HOME", kubeconfig.parent().unwrap())
        .env_remove("MESH_STATE_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn meshctl(kubeconfig: &Path, arguments: &str) -> Said {
    let run = command(kubeconfig, arguments).output();
    said(run).await
}

async fn said(run: impl Future<Output = std::io::Result<Output>>) -> Said {
    let output = tokio::time::timeout(LONGEST_COMMAND, Box::pin(run)).await;
    let output = output.expect("the command hangs").unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said {
        success: output.status.success(),
        text: String::from_utf8(text).unwrap(),
    }
}

#[tokio::test]
async fn a_mesh_comes_changes_and_goes() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let mut cluster = Cluster {
        client: server.client().await,
        kubeconfig: server.kubeconfig_path().to_owned(),
        server,
    };
    for name in [NAMESPACE, SECOND_NAMESPACE] {
        cluster
            .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .await;
    }
    let installer = Box::pin(rights::are_asked_for(&cluster)).await;
    let before = cluster.names().await;
    Box::pin(refuses_what_cannot_work(&cluster)).await;
    Box::pin(dry_run_changes_nothing(&cluster)).await;
    Cluster::same(&cluster.names().await, &before);
    Box::pin(installs_once(&cluster, &installer)).await;
    Box::pin(tells_what_is_not_ready(&cluster)).await;
    Box::pin(upgrades_and_prunes(&cluster)).await;
    Box::pin(revisions_live_side_by_side(&cluster)).await;
    Box::pin(second_mesh::leaves_the_first_alone(&cluster)).await;
    Box::pin(purge_leaves_nothing(&cluster, &before)).await;
    Box::pin(foreign_objects_are_left_alone(&cluster)).await;
    Box::pin(an_outage_is_told_and_survived(&mut cluster)).await;
    cluster.server.stop();
    cluster
        .meshctl("install -y")
        .await
        .fails()
        .has("does not answer")
        .has("is it running");
}

async fn refuses_what_cannot_work(cluster: &Cluster) {
    cluster.meshctl("install").await.fails().has("give -y");
    let said = cluster.meshctl("install -y --set global.hbu=x").await;
    said.fails().has("global.hbu").has("global.hub");
    let said = cluster.meshctl("install -y --set profile=huge").await;
    said.fails().has("huge").has("minimal");
    cluster
        .meshctl("upgrade -y")
        .await
        .fails()
        .has("nothing to upgrade");
    cluster
        .meshctl("verify-install")
        .await
        .fails()
        .has("no revision default");
    cluster
        .meshctl("uninstall --purge -y")
        .await
        .fails()
        .has("installed nothing");
    cluster
        .meshctl("precheck")
        .await
        .ok()
        .has("Nothing stands in the way");
    let powerless = cluster.server.kubeconfig_as("powerless");
    let said = meshctl(&powerless, "install -y").await;
    said.fails()
        .has("permissions are missing")
        .has("in istio-system: get, create, patch, delete configmaps, deployments.apps, ");
    let nowhere = meshctl(Path::new("/nonexistent/kubeconfig"), "install -y").await;
    nowhere.fails().has("KUBECONFIG");
}

async fn dry_run_changes_nothing(cluster: &Cluster) {
    let said = cluster.meshctl("install --dry-run").await;
    said.ok()
        .has("create Deployment istio-system/istiod")
        .has("to create");
}

/// `installer`: kubeconfig of a user who has only the rights that `precheck` asks for.
async fn installs_once(cluster: &Cluster, installer: &Path) {
    let said = meshctl(installer, "install -y --readiness-timeout 0").await;
    said.ok()
        .has("Control plane")
        .has("istio-injection=enabled");
    let installed = cluster.objects().await;
    let said = cluster.meshctl("install -y --readiness-timeout 0").await;
    said.ok().has("nothing was changed");
    Cluster::same(&cluster.objects().await, &installed);
}

async fn tells_what_is_not_ready(cluster: &Cluster) {
    let said = cluster.meshctl("verify-install").await;
    said.fails()
        .has("Deployment istio-system/istiod: no controller has seen it yet");
    let said = cluster.meshctl("install -y --readiness-timeout 1s").await;
    said.fails()
        .has("no controller has seen it yet")
        .has("The same command goes on");
    let said = cluster.meshctl("proxy-status").await;
    said.fails()
        .has("no istiod pod runs in namespace istio-system");
}

async fn upgrades_and_prunes(cluster: &Cluster) {
    let gateway = "Deployment istio-system/istio-ingressgateway".to_owned();
    assert!(cluster.names().await.contains(&gateway));
    let said = cluster
        .meshctl("upgrade --dry-run --set global.logging.level=debug")
        .await;
    said.ok().has("change Deployment istio-system/istiod");
    let off = "upgrade -y --readiness-timeout 0 --set gateways.istio-ingressgateway.enabled=false";
    cluster.meshctl(off).await.ok();
    assert!(!cluster.names().await.contains(&gateway));
    // The value is remembered.
    let said = cluster.meshctl("upgrade -y --readiness-timeout 0").await;
    said.ok().has("nothing was changed");
    cluster
        .meshctl("upgrade -y --readiness-timeout 0 --reset-values")
        .await
        .ok();
    assert!(cluster.names().await.contains(&gateway));
}

async fn revisions_live_side_by_side(cluster: &Cluster) {
    let before = cluster.names().await;
    let said = cluster
        .meshctl("install -y --revision canary --readiness-timeout 0")
        .await;
    said.ok()
        .has("stays with revision default")
        .has("istio.io/rev=canary");
    let canary = "Deployment istio-system/istiod-canary".to_owned();
    assert!(cluster.names().await.contains(&canary));
    let said = cluster.meshctl("verify-install --revision canary").await;
    assert!(!said.text.contains("gateway"), "{}", said.text);
    let said = cluster.meshctl("uninstall --revision other -y").await;
    said.fails().has("there are: canary, default");
    cluster.meshctl("uninstall --revision canary -y").await.ok();
    Cluster::same(&cluster.names().await, &before);
}

async fn purge_leaves_nothing(cluster: &Cluster, before: &BTreeSet<String>) {
    remains::are_made(cluster).await;
    cluster
        .apply(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}}))
        .await;
    let said = cluster.meshctl("uninstall --purge -y").await;
    said.ok().has("1 VirtualService").has("Secret cacerts");
    remains::are_gone(cluster, before).await;
    let bare = "install -y --readiness-timeout 0 --set base.enabled=false";
    cluster.meshctl(bare).await.ok();
    remains::are_made(cluster).await;
    let said = cluster.meshctl("uninstall --revision default -y").await;
    said.ok();
    let said = cluster.meshctl("uninstall --purge -y").await;
    said.ok().has("5 deleted").has("The mesh is gone");
    remains::are_gone(cluster, before).await;
    let said = cluster.meshctl("uninstall --purge -y").await;
    said.fails().has("installed nothing");
}

async fn foreign_objects_are_left_alone(cluster: &Cluster) {
    cluster
        .apply(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "istiod", "namespace": NAMESPACE}}))
        .await;
    let before = cluster.objects().await;
    let said = cluster.meshctl("install -y --readiness-timeout 0").await;
    said.fails()
        .has("ServiceAccount istio-system/istiod (made by somebody)")
        .has("--take-over");
    Cluster::same(&cluster.objects().await, &before);
    cluster
        .meshctl("install -y --readiness-timeout 0 --take-over")
        .await
        .ok();
}

async fn an_outage_is_told_and_survived(cluster: &mut Cluster) {
    let mut running = command(&cluster.kubeconfig, "upgrade -y --readiness-timeout 10s")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    // It waits for the control plane: everything before that has been done.
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("Control plane:") {
            break;
        }
    }
    cluster.server.stop();
    let outage = said(running.wait_with_output()).await;
    outage
        .fails()
        .has("does not answer")
        .has("The same command goes on");
    Box::pin(cluster.server.restart()).await;
    cluster
        .meshctl("upgrade -y --readiness-timeout 0")
        .await
        .ok()
        .has("nothing was changed");
}
