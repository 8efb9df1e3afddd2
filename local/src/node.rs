//! The machine as pods see it: network, images, data, signing key.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::images::Images;
use crate::net::Network;
use crate::pod::data::Data;
use crate::pod::downward::Machine;
use crate::pod::token::Signer;
use crate::state::StateDir;

/// What every pod shares.
pub(crate) struct Node {
    /// Where state is kept.
    pub(crate) state: StateDir,
    /// The pod network.
    pub(crate) network: Network,
    /// Name, address and size.
    pub(crate) machine: Machine,
    /// Signs service-account tokens.
    pub(crate) signer: Signer,
    /// Which executable an image stands for; replaced when an `images.yaml` changes.
    pub(crate) images: watch::Sender<Arc<Images>>,
    /// ConfigMaps, Secrets and what else pods refer to.
    pub(crate) data: watch::Sender<Arc<Data>>,
    /// Notified at every change of any pod.
    pub(crate) changed: Notify,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The size of this machine, for the downward API.
pub(crate) fn machine() -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        name: "local".to_owned(),
        address: crate::net::NODE.into(),
        cpus: u64::try_from(cpus).unwrap_or(1),
        memory_bytes: memory_bytes().unwrap_or(0),
    }
}

fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string(PathBuf::from("/proc/meminfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
