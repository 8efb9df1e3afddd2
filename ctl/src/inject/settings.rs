//! What a mesh injects with: as its ConfigMaps say, in the cluster or as they would be installed.

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Error};
use mesh_config::MeshConfig;
use mesh_helm::{Chart, Release};
use mesh_injector::{Settings, has_native_sidecars};
use serde_json::Value;

use crate::cluster::because;
use crate::install::values::Values;

/// The settings of a mesh, as far as injection depends on them.
#[derive(Debug)]
pub(crate) struct MeshSettings {
    pub(crate) mesh: MeshConfig,
    pub(crate) injector: Settings,
}

const MESH: (&str, &str) = ("istio", "mesh");
const INJECTOR: (&str, &str) = ("istio-sidecar-injector", "values");

impl MeshSettings {
    /// Those that `meshctl install` would make of `values` (texts in YAML, later ones win), and of
    /// `revision` unless that is `default`.
    ///
    /// # Errors
    /// Values that the chart refuses.
    pub(crate) fn of_values(
        values: &[String],
        namespace: &str,
        revision: &str,
    ) -> anyhow::Result<Self> {
        let mut given = Values::from_yaml("{}")?;
        for text in values {
            let text = if text.trim().is_empty() { "{}" } else { text };
            let read = Values::from_yaml(text).context("read the values")?;
            given = read.over(given);
        }
        if revision != "default" {
            given = Values::from_yaml(&format!("revision: {revision:?}"))?.over(given);
        }
        let revision = given.revision()?;
        let values = given.by_chart()?.control_plane;
        let values = values.context("these values install no control plane")?;
        let release = Release::new("istiod", namespace);
        let objects = Chart::builtin("meshd")?.render(&release, &values)?;
        let content = |(base, key): (&str, &str)| {
            let maps = objects.iter().filter(|object| object.kind() == "ConfigMap");
            let named = |name: &str| name == base || name == named(base, &revision);
            let map = maps
                .map(|object| &object.manifest)
                .find(|map| map["metadata"]["name"].as_str().is_some_and(named));
            map.and_then(|map| map["data"][key].as_str().map(str::to_owned))
        };
        let injector = content(INJECTOR).context("the chart has no settings of the injector")?;
        MeshSettings::of(content(MESH), &injector, &revision)
    }

    /// Those of a running mesh.
    ///
    /// # Errors
    /// If there is none, or it can't be asked.
    pub(crate) async fn of_cluster(
        client: &Client,
        namespace: &str,
        revision: &str,
    ) -> anyhow::Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let read = async |(base, key): (&str, &str)| {
            let name = named(base, revision);
            match maps.get_opt(&name).await {
                Ok(map) => Ok(map.and_then(|map| map.data?.remove(key))),
                Err(error) => Err(because(&error))
                    .with_context(|| format!("read ConfigMap {namespace}/{name}")),
            }
        };
        let injector = read(INJECTOR).await?.with_context(|| {
            let name = named(INJECTOR.0, revision);
            format!(
                "there is no ConfigMap {namespace}/{name}: is the mesh installed in another \
                 namespace (-i) or under another revision (-r)?"
            )
        })?;
        let mut settings = MeshSettings::of(read(MESH).await?, &injector, revision)?;
        let version = client.apiserver_version().await;
        let version = version.map_err(|error: Error| because(&error))?;
        let native = has_native_sidecars(&version.major, &version.minor);
        settings.injector.native_sidecar.get_or_insert(native);
        Ok(settings)
    }

    fn of(mesh: Option<String>, injector: &str, revision: &str) -> anyhow::Result<Self> {
        let base = Settings {
            revision: revision.to_owned(),
            ..Settings::default()
        };
        let injector = Settings::from_values(injector, &base)
            .map_err(|error| anyhow!("the settings of the injector: {error}"))?;
        let mut settings = MeshSettings {
            mesh: MeshConfig::default(),
            injector,
        };
        if let Some(text) = mesh {
            settings.set_mesh(&text, "MeshConfig")?;
        }
        Ok(settings)
    }

    /// Replaces the mesh's settings by those in `text`; `source` names it in errors.
    pub(crate) fn set_mesh(&mut self, text: &str, source: &str) -> anyhow::Result<()> {
        let value: Value = serde_yaml::from_str(text).unwrap_or_default();
        // The whole ConfigMap is what people have at hand.
        let text = value["data"]["mesh"].as_str().unwrap_or(text);
        self.mesh = mesh_config::decode::mesh_config(text, source)?;
        Ok(())
    }
}

/// The name that the revision's own object has.
fn named(base: &str, revision: &str) -> String {
    match revision {
        "" | "default" => base.to_owned(),
        revision => format!("{base}-{revision}"),
    }
}
