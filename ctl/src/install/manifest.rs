//! The objects of an installation, by component, with the labels by which they are found again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mesh_config::decode;
use mesh_helm::{Capabilities, Chart, Release, RenderError};
use serde_json::{Value, json};

use super::values::Values;
use crate::cluster::ObjectId;
use crate::yaml;

/// Label of every object that this program installs: which component it is part of.
pub(crate) const COMPONENT: &str = "mesh.install/component";
/// Label of every object that belongs to one revision alone.
pub(crate) const REVISION: &str = "mesh.install/revision";
/// Label of every object that belongs to one revision alone: the namespace of its mesh.
pub(crate) const MESH_NAMESPACE: &str = "mesh.install/namespace";
/// This program's version, which is also that of the built-in charts.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where a mesh is installed.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) revision: String,
    /// Charts to use in place of the built-in ones: a directory with `base`, `meshd`, `gateway`.
    pub(crate) charts: Option<PathBuf>,
    /// Kubernetes' version; `None` if no cluster is at hand.
    pub(crate) kube_version: Option<String>,
    /// Whether the control plane has armed its validation webhook already: that is its business, so
    /// a chart sets the failure policy only at first.
    pub(crate) armed: bool,
}

/// Objects that come and become ready together.
#[derive(Debug)]
pub(crate) struct Component {
    /// For people: `Control plane`.
    pub(crate) title: String,
    /// In the order in which they are applied.
    pub(crate) objects: Vec<Value>,
}

impl Place {
    /// What stands behind a name that each revision needs for itself: `-canary`, or nothing.
    pub(crate) fn suffix(&self) -> String {
        match self.revision.as_str() {
            "default" => String::new(),
            revision => format!("-{revision}"),
        }
    }

    /// Name of the ConfigMap that remembers what was installed.
    pub(crate) fn record_id(&self) -> ObjectId {
        ObjectId {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some(self.namespace.clone()),
            name: format!("mesh-install{}", self.suffix()),
        }
    }

    /// Name of the configuration of the webhook that validates mesh resources.
    pub(crate) fn validator_id(&self) -> ObjectId {
        ObjectId {
            api_version: "admissionregistration.k8s.io/v1".to_owned(),
            kind: "ValidatingWebhookConfiguration".to_owned(),
            namespace: None,
            name: format!("istio-validator{}-{}", self.suffix(), self.namespace),
        }
    }

    fn render(&self, chart: &str, release: &str, values: &Value) -> anyhow::Result<Vec<Value>> {
        let chart = match &self.charts {
            Some(directory) => Chart::load(&directory.join(Path::new(chart))).context(
                "charts of your own (--manifests) are the directories base, meshd and gateway",
            )?,
            None => Chart::builtin(chart)?,
        };
        let mut release = Release::new(release, &self.namespace);
        release.upgrade = self.armed;
        if let Some(version) = &self.kube_version {
            release.capabilities = Capabilities {
                kube_version: version.clone(),
                ..release.capabilities
            };
        }
        let objects = chart.render(&release, values).map_err(with_own_keys)?;
        Ok(objects.into_iter().map(|object| object.manifest).collect())
    }
}

/// Renders everything that `values` ask for, in the order in which it is installed; what comes first
/// is the [`foundation`].
///
/// # Errors
/// Values that a chart refuses, by their path.
pub(crate) fn components(values: &Values, place: &Place) -> anyhow::Result<Vec<Component>> {
    let charts = values.by_chart()?;
    let mut components = Vec::new();
    let mut add = |title: String, name: &str, place: Option<&Place>, mut objects: Vec<Value>| {
        objects
            .iter_mut()
            .for_each(|object| label(object, name, place));
        components.push(Component { title, objects });
    };
    if let Some(values) = &charts.base {
        let objects = place.render("base", "istio-base", values)?;
        add("Custom resources".to_owned(), "base", None, objects);
    }
    if let Some(values) = &charts.control_plane {
        let objects = place.render("meshd", "istiod", values)?;
        objects.iter().try_for_each(check_mesh_config)?;
        add(
            "Control plane".to_owned(),
            "control-plane",
            Some(place),
            objects,
        );
    }
    for (name, values) in &charts.gateways {
        let objects = place.render("gateway", name, values);
        let objects = objects.with_context(|| format!("values at gateways.{name}"))?;
        add(format!("Gateway {name}"), name, Some(place), objects);
    }
    Ok(components)
}

/// Lets the keys that `meshctl` has beside a chart's be meant, too.
fn with_own_keys(mut error: RenderError) -> RenderError {
    if let RenderError::UnknownValue {
        chart,
        path,
        nearest,
    } = &mut error
    {
        let own: &[&str] = match chart.as_str() {
            "meshd" => &["base", "enabled", "gateways", "profile"],
            _ => &["enabled"],
        };
        let first = path.split(['.', '[']).next().unwrap_or_default();
        if let Some(meant) = decode::nearest(first, own.iter().copied()) {
            *nearest = Some(meant.to_owned());
        }
    }
    error
}

/// The control plane would refuse such a MeshConfig, and never become ready.
///
/// # Errors
/// What it refuses, by field.
fn check_mesh_config(object: &Value) -> anyhow::Result<()> {
    match object["data"]["mesh"].as_str() {
        Some(text) if object["kind"] == "ConfigMap" => {
            decode::mesh_config(text, "value meshConfig")?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The namespace, and the record of `components`.
pub(crate) fn foundation(
    values: &Values,
    place: &Place,
    components: &[Component],
) -> anyhow::Result<Component> {
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": place.namespace}});
    label(&mut namespace, "namespace", None);
    let objects = components.iter().flat_map(|component| &component.objects);
    let lines = objects.map(|object| Ok(ObjectId::of(object)?.to_line()));
    let lines: Vec<String> = lines.collect::<anyhow::Result<_>>()?;
    let id = place.record_id();
    let mut record = json!({"apiVersion": "v1", "kind": "ConfigMap",
    "metadata": {"name": id.name, "namespace": id.namespace},
    "data": {
        "version": VERSION,
        "values": values.to_yaml()?,
        "objects": lines.join("\n"),
    }});
    label(&mut record, "record", Some(place));
    Ok(Component {
        title: format!("Namespace {}", place.namespace),
        objects: vec![namespace, record],
    })
}

/// `place`: of the revision that the object is for; `None` if all share it.
fn label(object: &mut Value, component: &str, place: Option<&Place>) {
    let labels = &mut object["metadata"]["labels"];
    labels["app.kubernetes.io/managed-by"] = "meshctl".into();
    labels[COMPONENT] = component.into();
    if let Some(place) = place {
        labels[REVISION] = place.revision.as_str().into();
        labels[MESH_NAMESPACE] = place.namespace.as_str().into();
    }
}

/// A stream of YAML documents for `kubectl apply -f -`.
pub(crate) fn to_yaml(components: &[Component]) -> String {
    let objects = components.iter().flat_map(|component| &component.objects);
    let documents = objects.map(|object| format!("---\n{}", yaml::print(object)));
    documents.collect()
}
