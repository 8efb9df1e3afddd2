//! The inputs as the API server has them: two ConfigMaps, watched by name, and the server's version.
//!
//! A ConfigMap that cannot be read is told once, and the last good one stays.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Api, Client};
use mesh_config::MeshConfig;
use mesh_telemetry::metrics::{Gauge, GaugeFamily, Registry};
use tokio::sync::watch;

use super::{Inputs, version};
use crate::Settings;

/// Where a control plane's ConfigMaps are.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The control plane's namespace.
    pub namespace: String,
    /// Its revision: names of a revision other than `default` (or empty) end in it.
    pub revision: String,
    /// Id of the cluster.
    pub cluster_id: String,
    /// In which certificates are signed, whatever the mesh's settings say.
    pub trust_domain: String,
}

impl Cluster {
    /// The value of the label `istio.io/rev`.
    pub(crate) fn revision_label(&self) -> &str {
        match self.revision.as_str() {
            "" => "default",
            revision => revision,
        }
    }

    /// A name of this revision.
    pub(crate) fn named(&self, base: &str) -> String {
        match self.revision.as_str() {
            "" | "default" => base.to_owned(),
            revision => format!("{base}-{revision}"),
        }
    }
}

/// Watches ConfigMap `istio` (key `mesh`) and `istio-sidecar-injector` (key `values`) of
/// `cluster`'s namespace and revision.
///
/// The receiver holds `None` until both and the API server's version were read; a mesh without
/// ConfigMap `istio` has the default settings. The future does the work, and ends when the last
/// receiver is gone.
pub fn watch(
    client: Client,
    cluster: Cluster,
    registry: &Registry,
) -> (
    watch::Receiver<Option<Inputs>>,
    impl Future<Output = ()> + Send + use<>,
) {
    let (sender, receiver) = watch::channel(None);
    let valid = registry.gauge(
        "sidecar_injection_settings_valid",
        "Whether the ConfigMap is in force (1), or refused and its last good content stands (0).",
        &["configmap"],
    );
    (receiver, follow(client, cluster, valid, sender))
}

/// What has been read so far.
#[derive(Default)]
struct Known {
    mesh: Option<Arc<MeshConfig>>,
    values: Option<Arc<Settings>>,
    native: Option<bool>,
}

impl Known {
    fn inputs(&self) -> Option<Inputs> {
        let (values, native) = (self.values.as_ref()?, self.native?);
        let mut settings = Settings::clone(values);
        settings.native_sidecar.get_or_insert(native);
        Some(Inputs {
            mesh: self.mesh.clone()?,
            settings: Arc::new(settings),
        })
    }
}

async fn follow(
    client: Client,
    cluster: Cluster,
    valid: GaugeFamily,
    sender: watch::Sender<Option<Inputs>>,
) {
    let mesh_name = cluster.named("istio");
    let values_name = cluster.named("istio-sidecar-injector");
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster.namespace);
    let mut meshes = Box::pin(contents(api.clone(), &mesh_name));
    let mut values = Box::pin(contents(api, &values_name));
    let (native, mut version) = watch::channel(None);
    let asking = tokio::spawn(version::follow(client, native));
    let base = Settings {
        revision: cluster.revision.clone(),
        cluster_id: cluster.cluster_id.clone(),
        native_sidecar: None,
        ..Settings::default()
    };
    let mesh_valid = valid.with(&[&mesh_name]);
    let values_valid = valid.with(&[&values_name]);
    let mut known = Known::default();
    loop {
        tokio::select! {
            Some(object) = meshes.next() => {
                let mut read = read_mesh(object.as_ref(), &mesh_name);
                if let Ok(Some(mesh)) = &mut read {
                    mesh.trust_domain.clone_from(&cluster.trust_domain);
                }
                accept(&mut known.mesh, read, &mesh_name, &mesh_valid);
            }
            Some(object) = values.next() => {
                let read = read_values(object.as_ref(), &values_name, &base);
                accept(&mut known.values, read, &values_name, &values_valid);
            }
            Ok(()) = version.changed() => known.native = *version.borrow_and_update(),
            () = sender.closed() => break,
        }
        let inputs = known.inputs();
        sender.send_if_modified(|current| {
            let changed = inputs.is_some() && *current != inputs;
            if changed {
                *current = inputs;
            }
            changed
        });
    }
    asking.abort();
}

/// Takes what was read; what was wrong is told and changes nothing.
fn accept<T>(
    known: &mut Option<Arc<T>>,
    read: Result<Option<T>, String>,
    name: &str,
    valid: &Gauge,
) {
    valid.set(i64::from(read.is_ok()));
    match read {
        Ok(Some(read)) => {
            tracing::info!(configmap = name, "settings are in force");
            *known = Some(Arc::new(read));
        }
        Ok(None) => {}
        Err(error) => {
            let stands = known.is_some();
            tracing::error!(
                configmap = name,
                error,
                last_good_stands = stands,
                "settings are refused"
            );
        }
    }
}

fn read_mesh(object: Option<&ConfigMap>, name: &str) -> Result<Option<MeshConfig>, String> {
    let text = object.and_then(|object| object.data.as_ref()?.get("mesh"));
    let read = text.map(|text| mesh_config::decode::mesh_config(text, name));
    match read {
        None => Ok(Some(MeshConfig::default())),
        Some(Ok(mesh)) => Ok(Some(mesh)),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// Without the ConfigMap the image is not known, so that there is nothing to inject yet.
fn read_values(
    object: Option<&ConfigMap>,
    name: &str,
    base: &Settings,
) -> Result<Option<Settings>, String> {
    let Some(object) = object else {
        tracing::warn!(
            configmap = name,
            "there is no such ConfigMap: what it said last stands, if it ever said anything"
        );
        return Ok(None);
    };
    let data = object.data.as_ref();
    let text = data
        .and_then(|data| data.get("values"))
        .ok_or("it has no key values")?;
    let settings = Settings::from_values(text, base).map_err(|error| error.to_string())?;
    Ok(Some(settings))
}

/// The ConfigMap of that name, as often as it changes; `None` while there is none.
fn contents(
    api: Api<ConfigMap>,
    name: &str,
) -> impl futures::Stream<Item = Option<ConfigMap>> + Send + use<> {
    let changes = watcher::watch_object(api, name).default_backoff();
    let name = name.to_owned();
    changes.filter_map(move |change| {
        let change = change.inspect_err(|error| {
            tracing::warn!(configmap = name, %error, "watch was interrupted; it is tried again");
        });
        std::future::ready(change.ok())
    })
}
