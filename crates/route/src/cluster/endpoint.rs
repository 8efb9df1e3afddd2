//! Endpoints and the set the balancer picks from.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::cluster::labels::Workload;
use crate::tls::UpstreamTransport;

/// One endpoint. Its runtime state survives configuration changes (keyed by address).
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Host name, where known.
    pub hostname: Option<Arc<str>>,
    /// How to connect.
    pub transport: UpstreamTransport,
    /// Telemetry labels of the workload behind it.
    pub workload: Arc<Workload>,
    /// Weight, at least 1.
    pub weight: u32,
    /// Health as configured.
    pub health: Health,
    /// Locality.
    pub locality: Arc<Locality>,
    /// 0 is highest.
    pub priority: u32,
    /// The peer is meshed (`tlsMode: istio`).
    pub meshed: bool,
}

/// Health as the control plane says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes requests.
    Healthy,
    /// Takes requests if there are too few healthy ones.
    Degraded,
    /// Takes none.
    Unhealthy,
    /// Takes no new ones but sticky ones.
    Draining,
}

/// Region, zone, sub-zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Sub-zone.
    pub sub_zone: Arc<str>,
}

/// An endpoint's figures for `/clusters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Requests (or TCP connections) in flight.
    pub active: u32,
    /// All so far.
    pub total: u64,
    /// Reported errors.
    pub errors: u64,
    /// Ejected now.
    pub ejected: bool,
}

impl Endpoint {
    /// Its figures.
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }
}

/// All endpoints of a cluster with what the balancer precomputed.
#[derive(Debug)]
pub struct EndpointSet {}

impl EndpointSet {
    /// All endpoints, whatever their health.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        todo!()
    }
}

/// Counts one request on an endpoint until dropped.
#[derive(Debug)]
pub struct InFlight {}
