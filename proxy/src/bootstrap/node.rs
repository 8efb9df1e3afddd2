//! Who this proxy is: node id and metadata, as Istio's control plane and telemetry know them.

use std::collections::BTreeMap;

use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::google::protobuf::value::Kind;
use mesh_xds::google::protobuf::{ListValue, Struct, Value};

use super::Role;

/// Identity of this proxy. Made once at start.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`.
    pub id: String,
    /// Envoy's "service cluster", `APP.NAMESPACE`.
    pub cluster: String,
    /// Pod name.
    pub pod: String,
    /// Pod namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Workload (deployment) name.
    pub workload: String,
    /// Kubernetes-style URL of the workload's owner; empty if unknown.
    pub owner: String,
    /// Cluster id, usually `Kubernetes`.
    pub cluster_id: String,
    /// Mesh id; empty if unset.
    pub mesh_id: String,
    /// Pod labels.
    pub labels: BTreeMap<String, String>,
    /// All metadata sent to the control plane.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

impl Node {
    /// The node id of Istio's form.
    pub fn id_of(
        role: Role,
        ip: std::net::IpAddr,
        pod: &str,
        namespace: &str,
        domain: &str,
    ) -> String {
        format!(
            "{}~{ip}~{pod}.{namespace}~{namespace}.svc.{domain}",
            role.as_str()
        )
    }

    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, `app`, or the workload.
    pub fn canonical_service(&self) -> &str {
        [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ]
        .iter()
        .find_map(|label| self.labels.get(*label))
        .map_or(&self.workload, |name| name)
    }

    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, `version`, or `latest`.
    pub fn canonical_revision(&self) -> &str {
        [
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]
        .iter()
        .find_map(|label| self.labels.get(*label))
        .map_or("latest", |revision| revision)
    }

    /// What peers are told of us in `x-envoy-peer-metadata`: NAME, NAMESPACE, WORKLOAD_NAME,
    /// LABELS, CLUSTER_ID, OWNER.
    pub fn peer_metadata(&self) -> Struct {
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let labels = Value {
            kind: Some(Kind::StructValue(Struct { fields: labels })),
        };
        let fields = [
            ("NAME", text(&self.pod)),
            ("NAMESPACE", text(&self.namespace)),
            ("WORKLOAD_NAME", text(&self.workload)),
            ("LABELS", labels),
            ("CLUSTER_ID", text(&self.cluster_id)),
            ("OWNER", text(&self.owner)),
        ];
        Struct {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    /// The node as it is sent in the first xDS request.
    pub fn to_proto(&self) -> core::Node {
        let fields = self
            .metadata
            .iter()
            .map(|(name, value)| (name.clone(), to_value(value)))
            .collect();
        core::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: Some(Struct { fields }),
            user_agent_name: "meshproxy".to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..core::Node::default()
        }
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

fn to_value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        // JSON numbers are doubles in protobuf's Struct.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), to_value(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}
