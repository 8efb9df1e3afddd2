//! CustomResourceDefinitions: a schema with names, versions and columns around it.

use serde_json::{Value, json};

use super::builder::{Schema, anything};
use super::{spec, status};
use crate::object::{Kind, PlannedKind};

/// What kubectl prints of each object, from left to right: title, path of the field, description.
type Columns = &'static [(&'static str, &'static str, &'static str)];

/// What a definition says about a kind.
struct Definition {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    versions: &'static [&'static str],
    stored: &'static str,
    columns: Columns,
    spec: Schema,
    spec_required: bool,
}

/// The definition of an implemented kind.
pub(super) fn implemented(kind: Kind) -> Value {
    Definition {
        group: kind.group(),
        kind: kind.as_str(),
        plural: kind.plural(),
        short_names: short_names(kind),
        versions: kind.versions(),
        stored: "v1",
        columns: columns(kind),
        spec: spec(kind),
        // As in Istio: those whose rules need something to look at.
        spec_required: matches!(kind, Kind::ServiceEntry | Kind::WorkloadEntry),
    }
    .into_value()
}

/// The definition of a kind that is not implemented yet: any spec is kept as it is.
pub(super) fn planned(kind: PlannedKind) -> Value {
    Definition {
        group: kind.group,
        kind: kind.name,
        plural: kind.plural,
        short_names: kind.short_names,
        versions: kind.versions,
        stored: kind.stored,
        columns: &[],
        spec: anything().described("Not implemented yet."),
        spec_required: false,
    }
    .into_value()
}

fn short_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::VirtualService => &["vs"],
        Kind::DestinationRule => &["dr"],
        Kind::Gateway => &["gw"],
        Kind::ServiceEntry => &["se"],
        Kind::WorkloadEntry => &["we"],
        Kind::Sidecar => &[],
        Kind::PeerAuthentication => &["pa"],
        Kind::AuthorizationPolicy => &["ap"],
    }
}

fn columns(kind: Kind) -> Columns {
    match kind {
        Kind::VirtualService => &[
            ("Gateways", ".spec.gateways", "Who applies the routes"),
            ("Hosts", ".spec.hosts", "What the routes are for"),
        ],
        Kind::DestinationRule => &[("Host", ".spec.host", "The service")],
        Kind::ServiceEntry => &[
            ("Hosts", ".spec.hosts", "The service's names"),
            ("Location", ".spec.location", "Inside the mesh or outside"),
            (
                "Resolution",
                ".spec.resolution",
                "Where endpoints come from",
            ),
        ],
        Kind::WorkloadEntry => &[("Address", ".spec.address", "Where the workload is")],
        Kind::PeerAuthentication => &[("Mode", ".spec.mtls.mode", "What clients must do")],
        Kind::AuthorizationPolicy => &[("Action", ".spec.action", "What a match leads to")],
        Kind::Gateway | Kind::Sidecar => &[],
    }
}

impl Definition {
    fn into_value(self) -> Value {
        let subject = self.group.split('.').next().unwrap_or(self.group);
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|name| self.version(name))
            .collect();
        let mut labels = json!({"app": "istio-pilot", "chart": "istio", "release": "istio"});
        if subject != "networking" && subject != "extensions" {
            labels["istio"] = subject.into();
        }
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
            "categories": ["istio-io", format!("{subject}-istio-io")],
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = self.short_names.into();
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{}", self.plural, self.group),
                // Without the definition all objects of the kind would go, too.
                "annotations": {"helm.sh/resource-policy": "keep"},
                "labels": labels,
            },
            "spec": {
                "group": self.group,
                "names": names,
                "scope": "Namespaced",
                "versions": versions,
            },
        })
    }

    fn version(&self, name: &str) -> Value {
        json!({
            "name": name,
            "served": true,
            "storage": name == self.stored,
            "subresources": {"status": {}},
            "additionalPrinterColumns": self.printer_columns(),
            "schema": {"openAPIV3Schema": self.schema()},
        })
    }

    fn printer_columns(&self) -> Vec<Value> {
        let column = |(name, path, description): &(&str, &str, &str)| json!({"name": name, "jsonPath": path, "description": description, "type": "string"});
        let mut columns: Vec<Value> = self.columns.iter().map(column).collect();
        columns.push(json!({
            "name": "Age",
            "jsonPath": ".metadata.creationTimestamp",
            "description": "Time since the object was made",
            "type": "date",
        }));
        columns
    }

    /// The schema of the whole object; the API server knows what metadata is.
    fn schema(&self) -> Value {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "spec": self.spec.clone().into_value(),
                "status": status::schema().into_value(),
            },
        });
        if self.spec_required {
            schema["required"] = json!(["spec"]);
        }
        schema
    }
}
