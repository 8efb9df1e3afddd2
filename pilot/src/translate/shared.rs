//! Resources that many proxies get, made once per snapshot and audience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::audience::Audience;
use super::{EncodedResource, Names, shared_types};
use crate::snapshot::{Change, Scope};

/// What was made for one audience from one snapshot.
#[derive(Debug)]
pub(crate) struct Shared {
    audience: Audience,
    scope: Arc<Scope>,
    /// Whether some proxy got something of it since it was made or taken over.
    used: AtomicBool,
    /// Outbound clusters and the catch-alls, by name.
    pub(super) clusters: OnceLock<Vec<EncodedResource>>,
    /// Outbound listeners, by name.
    pub(super) listeners: OnceLock<Vec<EncodedResource>>,
    pub(super) endpoints: ByName,
    pub(super) routes: ByName,
}

impl Shared {
    /// Nothing made yet for `audience`, which sees `scope`.
    pub(crate) fn new(audience: Audience, scope: Arc<Scope>) -> Self {
        Self {
            audience,
            scope,
            used: AtomicBool::new(false),
            clusters: OnceLock::new(),
            listeners: OnceLock::new(),
            endpoints: ByName::default(),
            routes: ByName::default(),
        }
    }

    /// For whom it is.
    pub(crate) fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What it sees.
    pub(crate) fn scope(&self) -> Arc<Scope> {
        Arc::clone(&self.scope)
    }

    /// Notes that a proxy gets something of it.
    pub(crate) fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// What still holds of this after `change`; `None` if that is nothing, or if nobody used it: its
    /// proxies may be gone.
    pub(crate) fn after(&self, change: &Change) -> Option<Self> {
        if change.config || !self.used.load(Ordering::Relaxed) {
            return None;
        }
        let stale = shared_types(change);
        let kept = |list: &OnceLock<Vec<EncodedResource>>, stale: bool| match list.get() {
            Some(list) if !stale => OnceLock::from(list.clone()),
            _ => OnceLock::new(),
        };
        Some(Self {
            audience: self.audience.clone(),
            scope: Arc::clone(&self.scope),
            used: AtomicBool::new(false),
            clusters: kept(&self.clusters, stale.clusters),
            listeners: kept(&self.listeners, stale.listeners),
            endpoints: self
                .endpoints
                .filtered(|name| !change.touches_endpoints_of(name)),
            routes: self.routes.filtered(|_| !stale.routes),
        })
    }
}

/// Resources by name; `None` for a name that there is no resource of.
#[derive(Debug, Default)]
pub(super) struct ByName(Mutex<HashMap<Arc<str>, Option<EncodedResource>>>);

impl ByName {
    /// Those of these names that exist, in the order of the names. `build` makes what is not
    /// there yet.
    pub(super) fn get<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Arc<str>>,
        build: impl Fn(&str) -> Option<EncodedResource>,
    ) -> Vec<EncodedResource> {
        let names = names.into_iter();
        let mut out = Vec::with_capacity(names.size_hint().0);
        let mut known = self.0.lock();
        for name in names {
            if let Some(resource) = known.get(name) {
                out.extend(resource.clone());
                continue;
            }
            // Built outside the lock: two threads may build the same once; they are equal.
            drop(known);
            let built = build(name);
            known = self.0.lock();
            let built = known.entry(Arc::clone(name)).or_insert(built);
            out.extend(built.clone());
        }
        out
    }

    fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        let known = self.0.lock();
        let kept = known.iter().filter(|(name, _)| keep(name));
        Self(Mutex::new(
            kept.map(|(name, resource)| (Arc::clone(name), resource.clone()))
                .collect(),
        ))
    }
}

/// Both lists in one, as far as wanted; each is by name and so is the result. Of two resources of
/// one name the first list's stays.
pub(super) fn merged<'a>(
    shared: impl IntoIterator<Item = &'a EncodedResource>,
    mut own: Vec<EncodedResource>,
    wanted: &Names,
) -> Vec<EncodedResource> {
    let shared = shared.into_iter();
    let shared = shared.filter(|resource| wanted.contains(resource.name()));
    let mut out: Vec<EncodedResource> = shared.cloned().collect();
    own.retain(|resource| wanted.contains(resource.name()));
    if !own.is_empty() {
        out.append(&mut own);
        // Stable, and fast on what is sorted already.
        out.sort_by(|a, b| a.name().cmp(b.name()));
        out.dedup_by(|a, b| a.name() == b.name());
    }
    out
}
