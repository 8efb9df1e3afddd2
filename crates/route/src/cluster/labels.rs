//! Telemetry labels that xDS metadata carries, parsed once.

use std::sync::Arc;

use mesh_xds::envoy::config::core::v3::Metadata;
use mesh_xds::google::protobuf as pb;

use crate::names::intern;

/// What Istio writes where a label isn't known.
const UNKNOWN: &str = "unknown";

/// The destination service of a cluster (`filter_metadata["istio"].services[0]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLabels {
    /// Host, `reviews.default.svc.cluster.local`; `unknown` if none.
    pub host: Arc<str>,
    /// Short name; `unknown` if none. The cluster's name for Passthrough and BlackHole.
    pub name: Arc<str>,
    /// Namespace; `unknown` if none.
    pub namespace: Arc<str>,
    /// Subset, empty if none.
    pub subset: Arc<str>,
    /// Port, 0 if the cluster's name tells none.
    pub port: u16,
}

/// The workload behind an endpoint (`filter_metadata["istio"].workload`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Workload name; `unknown` if not told, as the rest.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Canonical service.
    pub canonical_name: Arc<str>,
    /// Canonical revision.
    pub canonical_revision: Arc<str>,
    /// Cluster id.
    pub cluster: Arc<str>,
}

impl Default for Workload {
    fn default() -> Self {
        Self::parse("")
    }
}

impl Workload {
    /// Parses `NAME;NAMESPACE;CANONICAL_NAME;CANONICAL_REVISION;CLUSTER_ID`; what is missing or
    /// empty is `unknown`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(';');
        let mut next = || {
            let part = parts.next().filter(|part| !part.is_empty());
            intern(part.unwrap_or(UNKNOWN))
        };
        Self {
            name: next(),
            namespace: next(),
            canonical_name: next(),
            canonical_revision: next(),
            cluster: next(),
        }
    }

    pub(crate) fn of(metadata: Option<&Metadata>) -> Option<Self> {
        istio(metadata)
            .and_then(|fields| crate::compile::text(fields, "workload"))
            .map(Self::parse)
    }
}

impl ServiceLabels {
    /// Reads a cluster's name (`outbound|PORT|SUBSET|HOST`) and metadata.
    pub(crate) fn of(cluster: &str, metadata: Option<&Metadata>) -> Self {
        let mut parts = cluster.split('|');
        let (direction, port, subset, host) =
            (parts.next(), parts.next(), parts.next(), parts.next());
        let service = istio(metadata).and_then(first_service);
        let told = |key: &str| {
            service
                .and_then(|service| crate::compile::text(service, key))
                .filter(|text| !text.is_empty())
        };
        // A cluster that isn't of a service (Passthrough, BlackHole) is its own name.
        let own = (port.is_none()).then_some(direction).flatten();
        let host = told("host").or(host.filter(|host| !host.is_empty()));
        Self {
            host: intern(host.unwrap_or(UNKNOWN)),
            name: intern(told("name").or(own).unwrap_or(UNKNOWN)),
            namespace: intern(told("namespace").unwrap_or(UNKNOWN)),
            subset: intern(subset.unwrap_or("")),
            port: port.and_then(|port| port.parse().ok()).unwrap_or(0),
        }
    }
}

fn istio(metadata: Option<&Metadata>) -> Option<&pb::Struct> {
    metadata?.filter_metadata.get("istio")
}

fn first_service(fields: &pb::Struct) -> Option<&pb::Struct> {
    let pb::value::Kind::ListValue(list) = fields.fields.get("services")?.kind.as_ref()? else {
        return None;
    };
    match list.values.first()?.kind.as_ref()? {
        pb::value::Kind::StructValue(service) => Some(service),
        _ => None,
    }
}
