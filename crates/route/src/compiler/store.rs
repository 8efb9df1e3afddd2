//! The resources of one type: last good, active, refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_xds::google::protobuf::Any;
use prost::{Message, Name};

use crate::compile::unpack;
use crate::compiler::{Rejected, Stored};
use crate::error::Refused;
use crate::names::intern;

/// Resources of one type by name.
#[derive(Debug)]
pub(super) struct Store<T> {
    type_url: &'static str,
    entries: BTreeMap<Arc<str>, Entry<T>>,
    refused: BTreeMap<String, Refused>,
    /// The active set changed since it was last asked.
    dirty: bool,
    /// Names compiled anew by this change.
    fresh: HashSet<Arc<str>>,
}

#[derive(Debug)]
struct Entry<T> {
    version: Box<str>,
    /// The message's bytes, of its own: what came shares the buffer of a whole response.
    bytes: Box<[u8]>,
    latest: Arc<T>,
    /// What is in force; not `latest` while that warms.
    active: Option<Arc<T>>,
}

impl<T> Store<T> {
    /// An empty one for resources of `type_url`.
    pub(super) fn new(type_url: &'static str) -> Self {
        Self {
            type_url,
            entries: BTreeMap::new(),
            refused: BTreeMap::new(),
            dirty: false,
            fresh: HashSet::new(),
        }
    }
}

impl<T> Entry<T> {
    fn is_warming(&self) -> bool {
        !self
            .active
            .as_ref()
            .is_some_and(|active| Arc::ptr_eq(active, &self.latest))
    }
}

impl<T> Store<T> {
    /// Compiles and keeps the changed ones. `compile` gets the message and the version before,
    /// and gives the resource's own name with the compiled form.
    pub(super) fn put_all<M: Message + Name + Default>(
        &mut self,
        changed: &[(String, String, Any)],
        mut compile: impl FnMut(M, Option<&Arc<T>>) -> Result<(String, T), Refused>,
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for (name, version, resource) in changed {
            if let Err(refusal) = self.put(name, version, resource, &mut compile) {
                self.refused
                    .insert(refusal.name.clone(), refusal.reason.clone());
                rejected.push(refusal);
            }
        }
        rejected
    }

    fn put<M: Message + Name + Default>(
        &mut self,
        name: &str,
        version: &str,
        resource: &Any,
        compile: &mut impl FnMut(M, Option<&Arc<T>>) -> Result<(String, T), Refused>,
    ) -> Result<(), Rejected> {
        if let Some(entry) = self.entries.get_mut(name)
            && (self.type_url, &*entry.bytes) == (resource.type_url.as_str(), &*resource.value)
        {
            entry.version = version.into();
            self.refused.remove(name);
            return Ok(());
        }
        let refuse = |name: &str, reason| Rejected {
            name: name.to_owned(),
            reason,
        };
        let message: M = unpack(resource).map_err(|reason| refuse(name, reason))?;
        let before = self
            .entries
            .get(name)
            .map(|entry| entry.active.as_ref().unwrap_or(&entry.latest));
        let (own, compiled) = compile(message, before).map_err(|reason| refuse(name, reason))?;
        let key = intern(if name.is_empty() { &own } else { name });
        self.refused.remove(&*key);
        self.fresh.insert(Arc::clone(&key));
        let active = self.entries.remove(&key).and_then(|entry| entry.active);
        self.entries.insert(
            key,
            Entry {
                version: version.into(),
                bytes: (&*resource.value).into(),
                latest: Arc::new(compiled),
                active,
            },
        );
        Ok(())
    }

    pub(super) fn remove(&mut self, names: &[String]) {
        for name in names {
            self.refused.remove(name);
            self.dirty |= self.entries.remove(name.as_str()).is_some();
        }
    }

    pub(super) fn remove_unless(&mut self, names: &[String], wanted: &BTreeSet<Arc<str>>) {
        for name in names.iter().filter(|name| !wanted.contains(name.as_str())) {
            self.remove(std::slice::from_ref(name));
        }
    }

    /// Drops what was referred to and isn't any more. What came before anything referred to it
    /// stays: references usually come first, but nobody guarantees it.
    pub(super) fn forget(&mut self, before: &BTreeSet<Arc<str>>, now: &BTreeSet<Arc<str>>) {
        for name in before.difference(now) {
            self.refused.remove(&**name);
            self.dirty |= self.entries.remove(name).is_some();
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.entries.get(name).map(|entry| &entry.latest)
    }

    pub(super) fn latest(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.values().map(|entry| &entry.latest)
    }

    /// Latest and active versions.
    pub(super) fn all_versions(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.values().flat_map(|entry| {
            let older = entry.active.as_ref().filter(|_| entry.is_warming());
            std::iter::once(&entry.latest).chain(older)
        })
    }

    /// Puts the latest versions that are ready in force.
    pub(super) fn activate(&mut self, ready: impl Fn(&T) -> bool) {
        self.fresh = HashSet::new();
        for entry in self.entries.values_mut() {
            if entry.is_warming() && ready(&entry.latest) {
                entry.active = Some(Arc::clone(&entry.latest));
                self.dirty = true;
            }
        }
    }

    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn take_fresh(&mut self) -> HashSet<Arc<str>> {
        std::mem::take(&mut self.fresh)
    }

    pub(super) fn active_map(&self) -> HashMap<Arc<str>, Arc<T>> {
        self.entries
            .iter()
            .filter_map(|(name, entry)| {
                Some((Arc::clone(name), Arc::clone(entry.active.as_ref()?)))
            })
            .collect()
    }

    pub(super) fn stored(&self) -> Vec<Stored<'_>> {
        let stored = |(name, entry)| -> Stored<'_> {
            let (name, entry): (&Arc<str>, &Entry<T>) = (name, entry);
            Stored {
                name,
                version: &entry.version,
                type_url: self.type_url,
                bytes: &entry.bytes,
                warming: entry.is_warming(),
            }
        };
        self.entries.iter().map(stored).collect()
    }

    pub(super) fn refusals(&self) -> Vec<Rejected> {
        let refused = self.refused.iter();
        refused
            .map(|(name, reason)| Rejected {
                name: name.clone(),
                reason: reason.clone(),
            })
            .collect()
    }
}
