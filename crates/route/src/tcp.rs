//! The TCP proxy filter: connection to cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLogSpec;

/// A compiled TCP proxy.
#[derive(Debug)]
pub struct TcpProxy {
    /// Weighted clusters, at least one.
    pub(crate) clusters: Vec<(Arc<str>, u32)>,
    pub(crate) total_weight: u32,
    /// Close after so long without a byte; `None`: never. Envoy's default is one hour.
    pub idle_timeout: Option<Duration>,
    /// Close after so long whatever happens.
    pub max_duration: Option<Duration>,
    /// Connection attempts to different endpoints before giving up, at least 1.
    pub max_connect_attempts: u32,
    /// Hash the source address for ring hash and maglev.
    pub hash_source_ip: bool,
    /// Access logs.
    pub access_logs: Vec<AccessLogSpec>,
}

impl TcpProxy {
    /// The cluster of a connection. `random`: any uniform number.
    pub fn cluster(&self, random: u64) -> &Arc<str> {
        let mut point = random % u64::from(self.total_weight.max(1));
        for (name, weight) in &self.clusters {
            match point.checked_sub(u64::from(*weight)) {
                None => return name,
                Some(rest) => point = rest,
            }
        }
        &self.clusters[self.clusters.len() - 1].0
    }

    /// All clusters it can choose.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.iter().map(|(name, _)| name)
    }

    /// Hash for the balancer, if the policy asks for one.
    pub fn hash(&self, source: SocketAddr) -> Option<u64> {
        self.hash_source_ip
            .then(|| crate::hash::of_address(source.ip()))
    }
}
