//! What the platform assigns to objects and remembers: uids, service addresses, node ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Key;

/// First address given to a service: 10.96.1.0. The 256 before it are for fixed ones.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 96, 1, 0]);
/// Last one: 10.96.255.254.
const LAST_ADDRESS: u32 = u32::from_be_bytes([10, 96, 255, 254]);
/// Kubernetes' default `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// What an object was given once and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its uid.
    pub(crate) uid: String,
    /// When it appeared first, RFC 3339.
    pub(crate) created: String,
    /// Counts changes of what its author wrote.
    pub(crate) generation: i64,
    /// Hash of what its author wrote, to notice changes.
    pub(crate) content: String,
    /// A Service's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_ip: Option<Ipv4Addr>,
    /// A Service's node ports by its ports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) node_ports: BTreeMap<u16, u16>,
    /// A Deployment's size, if it was scaled since its manifest changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<i32>,
    /// When a restart of a Deployment was asked for last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restarted_at: Option<String>,
    /// Labels changed by hand since its manifest last said something about them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, Relabel>,
}

/// A label that was changed by hand. It holds for as long as the manifest says the same about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relabel {
    /// The value; `None`: removed.
    pub(crate) value: Option<String>,
    /// What the manifest said when it was changed.
    pub(crate) written: Option<String>,
}

/// All records, by `Kind namespace/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Assigned {
    records: BTreeMap<String, Record>,
}

impl Assigned {
    /// The record of an object, made or brought up to date. `content`: hash of what its author
    /// wrote. `now`: RFC 3339.
    pub(crate) fn record(&mut self, key: &Key, content: &str, now: &str) -> &mut Record {
        let record = self
            .records
            .entry(key.to_string())
            .or_insert_with(|| Record {
                uid: uuid::Uuid::new_v4().to_string(),
                created: now.to_owned(),
                generation: 1,
                content: content.to_owned(),
                cluster_ip: None,
                node_ports: BTreeMap::new(),
                replicas: None,
                restarted_at: None,
                labels: BTreeMap::new(),
            });
        if record.content != content {
            content.clone_into(&mut record.content);
            record.generation += 1;
            record.replicas = None;
        }
        record
    }

    /// The records of all objects with labels changed by hand, by the object's [`Key`] as text.
    pub(crate) fn relabelled(&mut self) -> impl Iterator<Item = (&String, &mut Record)> {
        let records = self.records.iter_mut();
        records.filter(|(_, record)| !record.labels.is_empty())
    }

    /// The record of an object, to change it.
    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Record> {
        self.records.get_mut(&key.to_string())
    }

    /// The record of an object, if it has one.
    pub(crate) fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(&key.to_string())
    }

    /// Gives a Service its address: `wanted` if it is free, else the one it has, else a free one
    /// that depends on its name first, so that a lost record is likely to be made again.
    ///
    /// # Errors
    /// If the wanted address is no service address or another Service has it, or none is free.
    pub(crate) fn cluster_ip(
        &mut self,
        key: &Key,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, String> {
        let name = key.to_string();
        let taken: BTreeMap<Ipv4Addr, &String> = self
            .records
            .iter()
            .filter(|(other, _)| **other != name)
            .filter_map(|(other, record)| Some((record.cluster_ip?, other)))
            .collect();
        let address = match (
            wanted,
            self.records.get(&name).and_then(|record| record.cluster_ip),
        ) {
            (Some(wanted), _) => {
                if wanted.octets()[..2] != [10, 96] {
                    return Err(format!("spec.clusterIP: {wanted} is not in 10.96.0.0/16"));
                }
                if let Some(other) = taken.get(&wanted) {
                    return Err(format!("spec.clusterIP: {wanted} belongs to {other}"));
                }
                wanted
            }
            (None, Some(present)) if !taken.contains_key(&present) => present,
            (None, _) => free_address(&name, &taken.keys().copied().collect())
                .ok_or("no service address is free")?,
        };
        if let Some(record) = self.records.get_mut(&name) {
            record.cluster_ip = Some(address);
        }
        Ok(address)
    }

    /// Gives a Service's port its node port, as [`Assigned::cluster_ip`] does.
    ///
    /// # Errors
    /// If the wanted one belongs to another Service, or none is free.
    pub(crate) fn node_port(
        &mut self,
        key: &Key,
        port: u16,
        wanted: Option<u16>,
    ) -> Result<u16, String> {
        let name = key.to_string();
        let taken: BTreeMap<u16, &String> = self
            .records
            .iter()
            .flat_map(|(owner, record)| {
                record
                    .node_ports
                    .iter()
                    .map(move |(own, node)| (owner, *own, *node))
            })
            .filter(|(owner, own, _)| **owner != name || *own != port)
            .map(|(owner, _, node)| (node, owner))
            .collect();
        let present = self
            .records
            .get(&name)
            .and_then(|record| record.node_ports.get(&port).copied());
        let node_port = match (wanted, present) {
            (Some(wanted), _) => match taken.get(&wanted) {
                Some(other) => {
                    return Err(format!("spec.ports: nodePort {wanted} belongs to {other}"));
                }
                None => wanted,
            },
            (None, Some(present)) if !taken.contains_key(&present) => present,
            (None, _) => NODE_PORTS
                .clone()
                .find(|candidate| !taken.contains_key(candidate))
                .ok_or("no node port is free")?,
        };
        if let Some(record) = self.records.get_mut(&name) {
            record.node_ports.insert(port, node_port);
        }
        Ok(node_port)
    }

    /// Forgets the objects that are gone.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.records.retain(|name, _| keep(name));
    }
}

fn free_address(name: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let count = LAST_ADDRESS - FIRST_ADDRESS + 1;
    let start = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    }) % count;
    (0..count)
        .map(|step| Ipv4Addr::from(FIRST_ADDRESS + (start + step) % count))
        .find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Kind;

    fn service(name: &str) -> Key {
        Key::new(Kind::SERVICE, "default", name)
    }

    #[test]
    fn addresses_are_kept_and_survive_a_lost_record() {
        let mut assigned = Assigned::default();
        let mut addresses = Vec::new();
        for name in ["a", "b", "a"] {
            assigned.record(&service(name), "", "now");
            addresses.push(assigned.cluster_ip(&service(name), None).unwrap());
        }
        assert_eq!(addresses[0], addresses[2]);
        assert_ne!(addresses[0], addresses[1]);
        let mut again = Assigned::default();
        again.record(&service("b"), "", "now");
        assert_eq!(again.cluster_ip(&service("b"), None).unwrap(), addresses[1]);
    }

    #[test]
    fn wanted_addresses_are_checked() {
        let mut assigned = Assigned::default();
        for name in ["a", "b"] {
            assigned.record(&service(name), "", "now");
        }
        let free = Ipv4Addr::new(10, 96, 0, 50);
        let wanted = Some(free);
        assert_eq!(assigned.cluster_ip(&service("a"), wanted), Ok(free));
        let error = assigned.cluster_ip(&service("b"), wanted).unwrap_err();
        assert!(error.contains("belongs to Service default/a"), "{error}");
        assert!(
            assigned
                .cluster_ip(&service("b"), Some(Ipv4Addr::LOCALHOST))
                .is_err()
        );
    }

    #[test]
    fn node_ports_are_unique_and_kept() {
        let mut assigned = Assigned::default();
        for name in ["a", "b"] {
            assigned.record(&service(name), "", "now");
        }
        let first = assigned.node_port(&service("a"), 80, None).unwrap();
        assert_ne!(first, assigned.node_port(&service("b"), 80, None).unwrap());
        assert_eq!(first, assigned.node_port(&service("a"), 80, None).unwrap());
        assert!(assigned.node_port(&service("b"), 81, Some(first)).is_err());
    }

    #[test]
    fn a_change_raises_the_generation() {
        let mut assigned = Assigned::default();
        assigned.record(&service("a"), "one", "now");
        let uid = assigned.get(&service("a")).unwrap().uid.clone();
        let record = assigned.record(&service("a"), "two", "later");
        assert_eq!((record.generation, record.created.as_str()), (2, "now"));
        assert_eq!(record.uid, uid);
    }
}
