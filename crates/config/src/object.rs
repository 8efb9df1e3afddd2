//! Kinds, metadata and the closed set of mesh resources.

mod planned;

use std::collections::BTreeMap;
use std::fmt;

pub use self::planned::PlannedKind;
use crate::{
    AuthorizationPolicy, DestinationRule, Gateway, PeerAuthentication, ServiceEntry, Sidecar,
    VirtualService, WorkloadEntry,
};

/// Every mesh kind this crate decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Routing rules for hosts.
    VirtualService,
    /// What happens after routing: balancing, limits, TLS, subsets.
    DestinationRule,
    /// Listeners of ingress and egress gateways.
    Gateway,
    /// Services outside the platform's registry.
    ServiceEntry,
    /// One workload outside the platform's registry.
    WorkloadEntry,
    /// What a workload's proxy listens on and can reach.
    Sidecar,
    /// Which transport authentication servers demand.
    PeerAuthentication,
    /// Who may do what.
    AuthorizationPolicy,
}

impl Kind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Kind; 8] = [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::Sidecar,
        Kind::PeerAuthentication,
        Kind::AuthorizationPolicy,
    ];

    /// The kind as written in manifests, for example `VirtualService`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::VirtualService => "VirtualService",
            Kind::DestinationRule => "DestinationRule",
            Kind::Gateway => "Gateway",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::WorkloadEntry => "WorkloadEntry",
            Kind::Sidecar => "Sidecar",
            Kind::PeerAuthentication => "PeerAuthentication",
            Kind::AuthorizationPolicy => "AuthorizationPolicy",
        }
    }

    /// The kind's name in URLs of the API server, for example `virtualservices`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::VirtualService => "virtualservices",
            Kind::DestinationRule => "destinationrules",
            Kind::Gateway => "gateways",
            Kind::ServiceEntry => "serviceentries",
            Kind::WorkloadEntry => "workloadentries",
            Kind::Sidecar => "sidecars",
            Kind::PeerAuthentication => "peerauthentications",
            Kind::AuthorizationPolicy => "authorizationpolicies",
        }
    }

    /// The API group, for example `networking.istio.io`.
    pub fn group(self) -> &'static str {
        match self {
            Kind::PeerAuthentication | Kind::AuthorizationPolicy => "security.istio.io",
            _ => "networking.istio.io",
        }
    }

    /// The API versions that are accepted, newest first.
    pub fn versions(self) -> &'static [&'static str] {
        match self.group() {
            "security.istio.io" => &["v1", "v1beta1"],
            _ => &["v1", "v1beta1", "v1alpha3"],
        }
    }

    /// The kind of a manifest's `kind` under an API `group`; `None` if it is not ours.
    pub fn find(group: &str, kind: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|k| k.group() == group && k.as_str() == kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of a Kubernetes object's metadata that the mesh reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ObjectMeta {
    /// Object name, not empty.
    pub name: String,
    /// Namespace; `default` when the manifest names none.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 time of creation, if an API server set one. In UTC it orders as text: of two
    /// conflicting objects the older wins, as in Istio.
    pub creation_timestamp: Option<String>,
    /// Version of the object in its store, if any.
    pub resource_version: Option<String>,
    /// Generation of the spec, if any.
    pub generation: Option<i64>,
    /// Unique id in its store, if any.
    pub uid: Option<String>,
}

impl ObjectMeta {
    /// Metadata of an object that only has a namespace and a name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectMeta {
            name: name.into(),
            namespace: namespace.into(),
            ..ObjectMeta::default()
        }
    }

    /// The order in which Istio lets objects of a kind win: oldest first, then by name, then by
    /// namespace. Objects without a creation time come first.
    pub fn precedence(&self) -> (&str, &str, &str) {
        (
            self.creation_timestamp.as_deref().unwrap_or(""),
            &self.name,
            &self.namespace,
        )
    }
}

impl fmt::Display for ObjectMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One object: metadata and its kind's domain type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object<S> {
    /// Name, namespace, labels and so on.
    pub meta: ObjectMeta,
    /// The kind's content.
    pub spec: S,
}

/// Any mesh resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per object of configuration, and kept behind an Arc"
)]
pub enum Resource {
    /// A [`VirtualService`].
    VirtualService(Object<VirtualService>),
    /// A [`DestinationRule`].
    DestinationRule(Object<DestinationRule>),
    /// A [`Gateway`].
    Gateway(Object<Gateway>),
    /// A [`ServiceEntry`].
    ServiceEntry(Object<ServiceEntry>),
    /// A [`WorkloadEntry`].
    WorkloadEntry(Object<WorkloadEntry>),
    /// A [`Sidecar`].
    Sidecar(Object<Sidecar>),
    /// A [`PeerAuthentication`].
    PeerAuthentication(Object<PeerAuthentication>),
    /// An [`AuthorizationPolicy`].
    AuthorizationPolicy(Object<AuthorizationPolicy>),
}

impl Resource {
    /// The resource's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Resource::VirtualService(_) => Kind::VirtualService,
            Resource::DestinationRule(_) => Kind::DestinationRule,
            Resource::Gateway(_) => Kind::Gateway,
            Resource::ServiceEntry(_) => Kind::ServiceEntry,
            Resource::WorkloadEntry(_) => Kind::WorkloadEntry,
            Resource::Sidecar(_) => Kind::Sidecar,
            Resource::PeerAuthentication(_) => Kind::PeerAuthentication,
            Resource::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
        }
    }

    /// The resource's metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Resource::VirtualService(o) => &o.meta,
            Resource::DestinationRule(o) => &o.meta,
            Resource::Gateway(o) => &o.meta,
            Resource::ServiceEntry(o) => &o.meta,
            Resource::WorkloadEntry(o) => &o.meta,
            Resource::Sidecar(o) => &o.meta,
            Resource::PeerAuthentication(o) => &o.meta,
            Resource::AuthorizationPolicy(o) => &o.meta,
        }
    }

    /// `Kind namespace/name`, as used in every message about the object.
    pub fn describe(&self) -> String {
        format!("{} {}", self.kind(), self.meta())
    }
}
