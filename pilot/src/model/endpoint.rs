//! An address and port behind a service.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::discovery::v1 as discovery;

use super::{Labels, Locality, TlsMode, Workload};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name for the proxy to look up (ServiceEntry `DNS`).
    Name(Arc<str>),
}

/// Whether an endpoint takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It does.
    Healthy,
    /// Known, but not ready; sent only where the service asks for it.
    Unhealthy,
}

/// One way to reach a service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// Port at that address.
    pub port: u16,
    /// Name of the service port that it serves.
    pub port_name: Arc<str>,
    /// Share of the traffic, 1 unless a WorkloadEntry says otherwise.
    pub weight: u32,
    /// Whether it takes traffic.
    pub health: Health,
    /// The pod or machine; absent for addresses that nothing describes.
    pub workload: Option<Arc<Workload>>,
    /// Where it is (the workload's place, or that of a WorkloadEntry).
    pub locality: Locality,
}

impl Endpoint {
    /// Labels by which subsets choose; empty when the workload is unknown.
    pub fn labels(&self) -> &Labels {
        static NONE: Labels = Labels::new();
        self.workload
            .as_ref()
            .map_or(&NONE, |workload| &workload.labels)
    }

    /// Whether to speak mesh mTLS to it.
    pub fn tls_mode(&self) -> TlsMode {
        self.workload
            .as_ref()
            .map_or(TlsMode::Disabled, |workload| workload.tls_mode)
    }
}

/// The label that ties an EndpointSlice to its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The endpoints of one EndpointSlice.
///
/// `publish_not_ready`: of its Service; unready endpoints then count as healthy. `find`: the workload
/// with an address. Terminating endpoints and FQDN slices are left out. An endpoint whose `ready` is
/// unknown counts as ready, as Kubernetes asks of consumers.
pub fn from_slice(
    slice: &discovery::EndpointSlice,
    publish_not_ready: bool,
    find: impl Fn(IpAddr) -> Option<Arc<Workload>>,
) -> Vec<Endpoint> {
    if slice.address_type == "FQDN" {
        return Vec::new();
    }
    let ports: Vec<(Arc<str>, u16)> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some((port.name.as_deref().unwrap_or_default().into(), number))
        })
        .collect();
    let mut out = Vec::new();
    for endpoint in &slice.endpoints {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true) || publish_not_ready;
        if conditions.terminating.unwrap_or_default() && !publish_not_ready {
            continue;
        }
        for ip in endpoint
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
        {
            let workload = find(ip);
            let mut locality = workload
                .as_ref()
                .map(|workload| workload.locality.clone())
                .unwrap_or_default();
            if let Some(zone) = endpoint.zone.as_ref().filter(|_| locality.zone.is_empty()) {
                locality.zone.clone_from(zone);
            }
            for (name, number) in &ports {
                out.push(Endpoint {
                    address: Address::Ip(ip),
                    port: *number,
                    port_name: name.clone(),
                    weight: 1,
                    health: if ready {
                        Health::Healthy
                    } else {
                        Health::Unhealthy
                    },
                    workload: workload.clone(),
                    locality: locality.clone(),
                });
            }
        }
    }
    out
}
