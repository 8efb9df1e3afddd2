//! What one client was told of each name of a type.
//!
//! Most of it is what others were told too: versions by name, in a map that sessions share. What
//! is different or new is the client's own, until there is so much of it that a new shared map is
//! due.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pool::{Interner, Versions};
use crate::resource::ContentVersion;

/// What a client was last told of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It waits for an answer, whatever it has.
    Owed,
    /// There is no such resource.
    Absent,
    /// This version.
    Version(ContentVersion),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ledger {
    interner: Interner,
    common: Arc<Versions>,
    /// Wins over `common`.
    own: BTreeMap<Arc<str>, Told>,
    /// How many entries of `own` can't be in `common`.
    unshareable: usize,
}

/// So many entries of its own a client may have besides a part of what is common.
const FEW: usize = 16;

impl Ledger {
    /// Of a client that was told nothing.
    pub(super) fn new(interner: Interner) -> Self {
        Self {
            common: interner.versions(Versions::new()),
            interner,
            own: BTreeMap::new(),
            unshareable: 0,
        }
    }

    /// What the client was told of `name`, if anything.
    pub(super) fn get(&self, name: &str) -> Option<Told> {
        let own = self.own.get(name).copied();
        own.or_else(|| self.common.get(name).copied().map(Told::Version))
    }

    /// Everything, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Told)> {
        let mut own = self.own.iter().map(|(name, told)| (name, *told)).peekable();
        let common = self.common.iter();
        let mut common = common
            .map(|(name, it)| (name, Told::Version(*it)))
            .peekable();
        std::iter::from_fn(move || {
            let order = match (own.peek(), common.peek()) {
                (Some((mine, _)), Some((theirs, _))) => mine.cmp(theirs),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order == Ordering::Equal {
                common.next();
            }
            if order == Ordering::Greater {
                common.next()
            } else {
                own.next()
            }
        })
    }

    /// How many resources the client has.
    pub(super) fn len(&self) -> usize {
        let has = |told: &Told| matches!(told, Told::Version(_));
        let more = self.own.values().filter(|told| has(told)).count();
        let replaced = self
            .own
            .keys()
            .filter(|name| self.common.contains_key(*name));
        self.common.len() + more - replaced.count()
    }

    /// Notes what the client is told. `asked`: the names that it subscribed to; that there is no
    /// resource need not be remembered of others.
    pub(super) fn tell(
        &mut self,
        news: impl IntoIterator<Item = (Arc<str>, Told)>,
        asked: &BTreeSet<Arc<str>>,
    ) {
        let mut news = news.into_iter().collect();
        self.own.append(&mut news);
        if self.own.len() > self.unshareable + FEW + self.common.len() / 8 {
            self.settle(asked);
        }
    }

    /// Forgets all names but those that `keep` keeps.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.own.retain(|name, _| keep(name));
        if !self.common.keys().all(|name| keep(name)) {
            let mut common = Versions::clone(&self.common);
            common.retain(|name, _| keep(name));
            self.common = self.interner.versions(common);
        }
        self.unshareable = self.unshareable.min(self.own.len());
    }

    /// Moves what can be shared to a map that can be.
    fn settle(&mut self, asked: &BTreeSet<Arc<str>>) {
        let mut common = Versions::clone(&self.common);
        let mut versions = Vec::new();
        self.own.retain(|name, told| {
            if let Told::Version(version) = told {
                versions.push((Arc::clone(name), *version));
                return false;
            }
            common.remove(name);
            *told == Told::Owed || asked.contains(name)
        });
        // In bulk: the map is built anew rather than grown.
        let mut versions = Versions::from_iter(versions);
        common.append(&mut versions);
        self.common = self.interner.versions(common);
        self.unshareable = self.own.len();
    }
}
