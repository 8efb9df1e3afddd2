//! Endpoints and their runtime state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::cluster::labels::Workload;
use crate::cluster::outlier::Streaks;
use crate::tls::UpstreamTransport;

/// One endpoint. Its runtime state survives configuration changes (keyed by address).
#[derive(Clone, Debug)]
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
    /// Key for ring hash and maglev instead of the address.
    pub(crate) hash_key: Option<Arc<str>>,
    pub(crate) state: Arc<State>,
}

/// What happens to an endpoint at run time; shared by all versions of it.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) active: AtomicU32,
    pub(crate) total: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) ejected: AtomicBool,
    pub(crate) streaks: Streaks,
}

/// Health as the control plane says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes requests.
    Healthy,
    /// Takes requests if there are no healthy ones.
    Degraded,
    /// Takes none, but in panic mode.
    Unhealthy,
    /// Is going away: takes none, but in panic mode.
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
        EndpointStats {
            active: self.state.active.load(Relaxed),
            total: self.state.total.load(Relaxed),
            errors: self.state.errors.load(Relaxed),
            ejected: self.state.ejected.load(Relaxed),
        }
    }

    /// Counts a request on it.
    pub(crate) fn begin(&self) -> InFlight {
        self.state.active.fetch_add(1, Relaxed);
        self.state.total.fetch_add(1, Relaxed);
        InFlight {
            state: Arc::clone(&self.state),
        }
    }

    pub(crate) fn active(&self) -> u32 {
        self.state.active.load(Relaxed)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.state.ejected.load(Relaxed)
    }
}

/// Counts one request on an endpoint until dropped.
#[derive(Debug)]
pub struct InFlight {
    state: Arc<State>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.active.fetch_sub(1, Relaxed);
    }
}
