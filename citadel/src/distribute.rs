//! The trusted roots in every namespace: ConfigMap `istio-ca-root-cert`, which pods mount to
//! know the control plane and each other. Only one replica does this at a time.

mod state;

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use mesh_kubernetes::kube::api::{Patch, PatchParams};
use mesh_kubernetes::kube::core::PartialObjectMeta;
use mesh_kubernetes::kube::runtime::{WatchStreamExt as _, watcher};
use mesh_kubernetes::kube::{Api, Client, Error};
use mesh_kubernetes::{answered, explain};
use serde_json::json;
use tokio::sync::watch;

use crate::live::Live;
use state::State;

/// The ConfigMap's name, as Istio's.
pub const CONFIG_MAP: &str = "istio-ca-root-cert";
/// Its key.
pub const KEY: &str = "root-cert.pem";
/// Its label, by which Istio's tools know it.
const LABEL: (&str, &str) = ("istio.io/config", "true");
/// Under which name the API server notes what we own of an object.
const FIELD_MANAGER: &str = "meshd";
/// ConfigMaps written at once.
const AT_ONCE: usize = 8;
/// Pause after a round of writes: someone who writes the same ConfigMaps, such as another mesh,
/// is not fought at full speed.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the ConfigMap in every namespace while `leading`; a new namespace has it at once, one
/// that was changed or deleted is put right. Returns once `leading` can no longer change.
pub async fn run(client: Client, live: Live, mut leading: watch::Receiver<bool>) {
    while leading.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = lead(&client, live.clone()) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
        }
    }
}

async fn lead(client: &Client, mut live: Live) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let config_maps: Api<ConfigMap> = Api::all(client.clone());
    let named = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let mut namespaces = pin!(watcher(namespaces, watcher::Config::default()).default_backoff());
    let mut config_maps = pin!(watcher(config_maps, named).default_backoff());
    let mut state = State::default();
    let mut failed = false;
    loop {
        tokio::select! {
            Some(event) = namespaces.next() => note(event.map(|event| state.namespace(event))),
            Some(event) = config_maps.next() => note(event.map(|event| state.config_map(event))),
            () = live.changed() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
        failed = write(client, &mut state, live.current().root_pem()).await;
    }
}

fn note(event: Result<(), watcher::Error>) {
    if let Err(error) = event {
        tracing::debug!(%error, "watch ended, and begins again");
    }
}

/// Writes what is not as it must be. Returns whether something is left to try again.
async fn write(client: &Client, state: &mut State, pem: &str) -> bool {
    let due = state.due(pem);
    if due.is_empty() {
        return false;
    }
    let results: Vec<_> = futures::stream::iter(due)
        .map(|namespace| async move {
            let applied = answered(apply(client, &namespace, pem)).await;
            (namespace, applied)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut failed = false;
    for (namespace, result) in results {
        match result {
            Ok(()) => state.written(namespace, pem),
            Err(error) if is_going(&error) => state.gone(&namespace),
            Err(error) => {
                failed = true;
                let reason = explain(&error);
                tracing::warn!(namespace, config_map = CONFIG_MAP, %reason, "roots are not given out");
            }
        }
    }
    tokio::time::sleep(PAUSE).await;
    failed
}

/// Sets our key and label, whoever set them before; others stay.
async fn apply(client: &Client, namespace: &str, pem: &str) -> Result<(), Error> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "labels": {LABEL.0: LABEL.1}},
        "data": {KEY: pem},
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    config_maps
        .patch(CONFIG_MAP, &parameters, &Patch::Apply(object))
        .await
        .map(drop)
}

/// Whether the namespace is gone, or about to be.
fn is_going(error: &Error) -> bool {
    let Error::Api(status) = error else {
        return false;
    };
    let terminating = status.details.as_ref().is_some_and(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
    });
    status.code == 404 || terminating
}
