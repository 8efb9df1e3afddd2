//! Which fields the decoder knows where, for the test that compares it with the schemas.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The fields of one object: those that are read, and those that are not implemented yet.
#[derive(Debug, Clone)]
pub(in crate::decode) struct Opened {
    pub(in crate::decode) known: &'static [&'static str],
    pub(in crate::decode) refused: Vec<&'static str>,
}

thread_local! {
    static OPENED: RefCell<BTreeMap<String, Opened>> = const { RefCell::new(BTreeMap::new()) };
}

/// Remembers that the object at `path` was opened.
pub(super) fn note(
    path: &str,
    known: &'static [&'static str],
    refused: &'static [(&'static str, &'static str)],
) {
    let refused = refused.iter().map(|(name, _)| *name).collect();
    OPENED.with_borrow_mut(|opened| opened.insert(path.to_owned(), Opened { known, refused }));
}

/// What was opened since the last call, by path.
pub(in crate::decode) fn take() -> BTreeMap<String, Opened> {
    OPENED.take()
}
