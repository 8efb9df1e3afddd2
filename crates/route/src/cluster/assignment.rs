//! Endpoints as the control plane sends them, before names are resolved and sockets chosen.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::cluster::SocketLabels;
use crate::cluster::endpoint::{Health, Locality};
use crate::cluster::labels::Workload;

/// A compiled load assignment.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) groups: Box<[Group]>,
    /// In percent; Envoy's default 140.
    pub(crate) overprovisioning: u32,
}

/// The endpoints of one locality and priority.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) locality: Arc<Locality>,
    pub(crate) priority: u32,
    /// For locality-weighted balancing; 0 takes nothing.
    pub(crate) weight: u32,
    pub(crate) endpoints: Box<[Spec]>,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) host: Host,
    pub(crate) hostname: Option<Arc<str>>,
    pub(crate) weight: u32,
    pub(crate) health: Health,
    pub(crate) workload: Arc<Workload>,
    /// `filter_metadata["envoy.transport_socket_match"]`, text values.
    pub(crate) socket_labels: SocketLabels,
    pub(crate) hash_key: Option<Arc<str>>,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum Host {
    Address(SocketAddr),
    Name(Arc<str>, u16),
}
