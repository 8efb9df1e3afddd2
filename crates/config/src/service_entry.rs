//! ServiceEntry: services outside the platform's registry.
//!
//! Source: Istio API `networking/v1/service_entry.proto`.

use ipnet::IpNet;

use crate::host::HostPattern;
use crate::number::PortNumber;
use crate::protocol::Protocol;
use crate::selector::LabelSelector;
use crate::visibility::ExportTo;
use crate::workload_entry::WorkloadEntry;

/// Adds services to the mesh's registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceEntry {
    /// Hosts; at least one, never `*`.
    pub hosts: Vec<HostPattern>,
    /// Virtual addresses (or ranges) of the service; empty for none.
    pub addresses: Vec<IpNet>,
    /// Ports, unique by number and by name.
    pub ports: Vec<ServiceEntryPort>,
    /// Inside or outside of the mesh.
    pub location: Location,
    /// How endpoints are found, and the endpoints given in place.
    pub endpoints: EntryEndpoints,
    /// Which namespaces see the services.
    pub export_to: ExportTo,
    /// Identities of which the server's certificate must have one; empty for none.
    pub subject_alt_names: Vec<String>,
}

/// A port of the service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceEntryPort {
    /// Number callers dial.
    pub number: PortNumber,
    /// Protocol.
    pub protocol: Protocol,
    /// Name, not empty.
    pub name: String,
    /// Port of the endpoints, where it differs.
    pub target_port: Option<PortNumber>,
}

/// Where a service is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Location {
    /// Outside: no mesh mTLS.
    #[default]
    MeshExternal,
    /// Inside: workloads with identities.
    MeshInternal,
}

/// How endpoints are found. A combination that Istio refuses cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryEndpoints {
    /// `NONE`: the address the caller dialled.
    Passthrough,
    /// `STATIC`: these addresses, each an IP or a Unix socket.
    Static(Vec<WorkloadEntry>),
    /// `STATIC` with a selector: pods and WorkloadEntries of the namespace with these labels.
    Selected(LabelSelector),
    /// `DNS` or `DNS_ROUND_ROBIN`: names that the proxy resolves.
    Dns {
        /// Names (or addresses); empty means that the hosts themselves are resolved.
        endpoints: Vec<WorkloadEntry>,
        /// `DNS_ROUND_ROBIN`: one address at a time (Envoy's logical DNS), not all of them.
        logical: bool,
    },
    /// `DNS` with a selector: WorkloadEntries of the namespace, names resolved by the proxy.
    SelectedDns {
        /// The selector.
        selector: LabelSelector,
        /// As in [`EntryEndpoints::Dns`].
        logical: bool,
    },
}

impl EntryEndpoints {
    /// The selector, if endpoints are selected.
    pub fn selector(&self) -> Option<&LabelSelector> {
        match self {
            EntryEndpoints::Selected(selector) | EntryEndpoints::SelectedDns { selector, .. } => {
                Some(selector)
            }
            _ => None,
        }
    }

    /// The endpoints given in place.
    pub fn inline(&self) -> &[WorkloadEntry] {
        match self {
            EntryEndpoints::Static(endpoints) | EntryEndpoints::Dns { endpoints, .. } => endpoints,
            _ => &[],
        }
    }
}
