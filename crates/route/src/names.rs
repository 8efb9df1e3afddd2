//! One copy of each configured text. A cluster's name alone stands in the cluster, its endpoints' resource,
//! the routes to it and three indexes; a namespace in every endpoint of it.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashSet;

thread_local! {
    // Per thread: one thread compiles, and workers make no more than a default.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Texts in use, and some that were: never more than as many again.
#[derive(Debug, Default)]
struct Known {
    texts: HashSet<Arc<str>>,
    /// Number of texts from which the unused ones are looked for.
    sweep_at: usize,
}

/// Below this many texts nothing is swept.
const LEAST: usize = 1024;

/// `text`, shared with all who asked for the same on this thread. One hash; allocates if it is new.
pub(crate) fn intern(text: &str) -> Arc<str> {
    if text.is_empty() {
        return Arc::default();
    }
    KNOWN.with_borrow_mut(|known| known.get(text))
}

impl Known {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.texts.get(text) {
            return Arc::clone(found);
        }
        if self.texts.len() >= self.sweep_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = (2 * self.texts.len()).max(LEAST);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let (a, b) = (intern("reviews"), intern("reviews"));
        assert!(Arc::ptr_eq(&a, &b));
        assert_ne!(a, intern("ratings"));
        assert_eq!(&*intern(""), "");
    }

    #[test]
    fn texts_out_of_use_are_forgotten() {
        let mut known = Known::default();
        let kept = known.get("kept");
        for number in 0..10 * LEAST {
            known.get(&number.to_string());
        }
        assert!(known.texts.len() <= LEAST + 1, "{}", known.texts.len());
        assert!(Arc::ptr_eq(&kept, &known.get("kept")));
    }
}
