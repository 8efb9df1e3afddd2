//! Equal values kept once: most proxies of a mesh subscribe to the same names and hold the same
//! versions, so what sessions remember of them is shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::resource::{ContentVersion, NameSet};

/// Versions by name.
pub(super) type Versions = BTreeMap<Arc<str>, ContentVersion>;

/// The memory that the sessions of a server share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Interner(Arc<Pools>);

#[derive(Debug, Default)]
struct Pools {
    names: Pool<BTreeSet<Arc<str>>>,
    versions: Pool<Versions>,
}

impl Interner {
    /// The set of these names.
    pub(super) fn names(&self, names: BTreeSet<Arc<str>>) -> NameSet {
        self.0.names.share(names)
    }

    pub(super) fn versions(&self, versions: Versions) -> Arc<Versions> {
        self.0.versions.share(versions)
    }
}

/// Values of one type, each kept as long as someone has it.
#[derive(Debug)]
struct Pool<T> {
    /// Random, so that nobody can choose names whose hashes collide.
    hasher: RandomState,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    by_hash: HashMap<u64, Vec<Weak<T>>>,
    /// Number of hashes at which it is worth looking for values that nobody has any more.
    sweep_at: usize,
}

/// A table so small is not swept.
const SMALL: usize = 64;

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            kept: Mutex::new(Kept {
                by_hash: HashMap::new(),
                sweep_at: SMALL,
            }),
        }
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// The kept value that equals `value`, which becomes the kept one if there is none.
    fn share(&self, value: T) -> Arc<T> {
        let hash = self.hasher.hash_one(&value);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_hash.len() > kept.sweep_at {
            kept.by_hash.retain(|_, values| {
                values.retain(|value| value.strong_count() > 0);
                !values.is_empty()
            });
            kept.sweep_at = SMALL.max(2 * kept.by_hash.len());
        }
        let equals = kept.by_hash.entry(hash).or_default();
        if let Some(known) = equals
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| **known == value)
        {
            return known;
        }
        equals.retain(|value| value.strong_count() > 0);
        let value = Arc::new(value);
        equals.push(Arc::downgrade(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_until_nobody_has_them() {
        let pool = Pool::default();
        let one = pool.share("a".to_owned());
        assert!(Arc::ptr_eq(&one, &pool.share("a".to_owned())));
        assert!(!Arc::ptr_eq(&one, &pool.share("b".to_owned())));
        drop(one);
        for number in 0..3 * SMALL {
            pool.share(number.to_string());
        }
        assert!(pool.kept.lock().unwrap().by_hash.len() <= SMALL + 1);
    }
}
