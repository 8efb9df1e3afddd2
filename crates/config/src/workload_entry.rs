//! WorkloadEntry: one workload outside the platform's registry.
//!
//! Source: Istio API `networking/v1/workload_entry.proto`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::host::Host;
use crate::number::PortNumber;
use crate::selector::Labels;

/// One workload: an endpoint of ServiceEntries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadEntry {
    /// Where it is.
    pub address: WorkloadAddress,
    /// Ports by the name of the service's port, where they differ.
    pub ports: BTreeMap<String, PortNumber>,
    /// Labels (subsets, selectors, metrics).
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: Option<String>,
    /// Weight within its locality; `None` counts as 1.
    pub weight: Option<u32>,
    /// Service account of the workload, if it is in the mesh (in the object's namespace).
    pub service_account: Option<String>,
}

/// Address of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkloadAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A name (only under DNS resolution).
    Dns(Host),
    /// A Unix domain socket path.
    Unix(String),
}

impl std::fmt::Display for WorkloadAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WorkloadAddress::Ip(ip) => ip.fmt(f),
            WorkloadAddress::Dns(host) => host.fmt(f),
            WorkloadAddress::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}
