//! Findings that span several objects, under Istio's analysis codes.
//!
//! Each check is a function over the `Index`; none stops at its first finding. Objects are
//! valid by themselves already.

mod conflicts;
mod references;

use std::collections::BTreeMap;

use crate::host::{Host, HostPattern};
use crate::mesh_config::MeshConfig;
use crate::object::{Kind, Object, ObjectMeta, Resource};
use crate::{DestinationRule, Gateway, PeerAuthentication, ServiceEntry, Sidecar, VirtualService};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth to know.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Does not work.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Istio's code, for example `IST0101`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Kind of the object.
    pub kind: Kind,
    /// `namespace/name` of the object.
    pub object: String,
    /// Path of the field; empty for the whole object.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(
            f,
            "{severity} {}: {} {}: ",
            self.code, self.kind, self.object
        )?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A service of the platform's registry, as far as references need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownService {
    /// Fully qualified host.
    pub host: String,
    /// Ports.
    pub ports: Vec<u16>,
}

/// Checks references and conflicts among `resources`. `services` are those of the platform
/// (`None` if unknown: then references to hosts are not checked). Findings come in the order of
/// the resources, references before conflicts.
pub fn analyse(
    resources: &[Resource],
    services: Option<&[KnownService]>,
    mesh: &MeshConfig,
) -> Vec<Finding> {
    let index = Index::build(resources, services, mesh);
    let mut findings = Vec::new();
    references::check(&index, &mut findings);
    conflicts::check(&index, resources, &mut findings);
    findings
}

/// The resources by kind, and the registry.
#[derive(Debug)]
struct Index<'a> {
    virtual_services: Vec<&'a Object<VirtualService>>,
    destination_rules: Vec<&'a Object<DestinationRule>>,
    gateways: Vec<&'a Object<Gateway>>,
    service_entries: Vec<&'a Object<ServiceEntry>>,
    sidecars: Vec<&'a Object<Sidecar>>,
    peer_authentications: Vec<&'a Object<PeerAuthentication>>,
    /// Ports by host; `None` if the platform's services are unknown.
    services: Option<BTreeMap<&'a str, &'a [u16]>>,
    mesh: &'a MeshConfig,
}

/// Cluster domain of short names; the trust domain may differ from it.
const DOMAIN: &str = "cluster.local";

impl<'a> Index<'a> {
    fn build(
        resources: &'a [Resource],
        services: Option<&'a [KnownService]>,
        mesh: &'a MeshConfig,
    ) -> Self {
        let by_host = |services: &'a [KnownService]| {
            let entries = services.iter();
            entries
                .map(|s| (s.host.as_str(), s.ports.as_slice()))
                .collect()
        };
        let mut index = Index {
            virtual_services: Vec::new(),
            destination_rules: Vec::new(),
            gateways: Vec::new(),
            service_entries: Vec::new(),
            sidecars: Vec::new(),
            peer_authentications: Vec::new(),
            services: services.map(by_host),
            mesh,
        };
        for resource in resources {
            match resource {
                Resource::VirtualService(object) => index.virtual_services.push(object),
                Resource::DestinationRule(object) => index.destination_rules.push(object),
                Resource::Gateway(object) => index.gateways.push(object),
                Resource::ServiceEntry(object) => index.service_entries.push(object),
                Resource::Sidecar(object) => index.sidecars.push(object),
                Resource::PeerAuthentication(object) => index.peer_authentications.push(object),
                Resource::WorkloadEntry(_) | Resource::AuthorizationPolicy(_) => {}
            }
        }
        index
    }

    /// Whether a service or ServiceEntry has the host; `true` if services are unknown.
    fn has_host(&self, host: &Host) -> bool {
        let Some(services) = &self.services else {
            return true;
        };
        let declared = |pattern: &HostPattern| pattern.matches(host.as_str());
        services.contains_key(host.as_str())
            || self
                .service_entries
                .iter()
                .any(|entry| entry.spec.hosts.iter().any(declared))
    }
}

fn finding(
    code: &'static str,
    severity: Severity,
    (kind, meta): (Kind, &ObjectMeta),
    path: impl Into<String>,
    message: impl Into<String>,
) -> Finding {
    Finding {
        code,
        severity,
        kind,
        object: meta.to_string(),
        path: path.into(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
