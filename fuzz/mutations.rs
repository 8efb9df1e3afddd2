//! Inputs for the properties in the normal test suite: a fuzz target's seeds and mutilations of
//! them. The tests of several crates include this file.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// The seeds in `fuzz/seeds/TARGET`, in the order of their names.
///
/// # Panics
/// If there are none.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = crate_directory
        .ancestors()
        .map(|directory| directory.join("fuzz/seeds").join(target))
        .find(|directory| directory.is_dir())
        .expect("fuzz/seeds has a directory for each target");
    let entries = std::fs::read_dir(directory).expect("seeds can be listed");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds of {target}");
    let read = |file| std::fs::read(file).expect("seeds can be read");
    files.iter().map(read).collect()
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// Repeats what lies between two places.
    Repeat(Index, Index),
}

fn change(tokens: &'static [&'static [u8]]) -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), 1..8_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (place(), prop::sample::select(tokens))
            .prop_map(|(at, token)| Change::Insert(at, token.to_vec())),
        (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

/// A seed of `target` with up to six changes; `tokens` are what matters in its format.
pub(crate) fn mutilated(
    target: &str,
    tokens: &'static [&'static [u8]],
) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec(change(tokens), 0..6);
    (prop::sample::select(seeds(target)), changes).prop_map(|(mut input, changes)| {
        for change in changes {
            apply(&mut input, change);
        }
        input
    })
}

fn apply(input: &mut Vec<u8>, change: Change) {
    let place = |index: Index| index.index(input.len() + 1);
    match change {
        Change::Set(at, byte) => {
            let at = place(at);
            if let Some(old) = input.get_mut(at) {
                *old = byte;
            }
        }
        Change::Remove(at, length) => {
            let at = place(at);
            let end = input.len().min(at + length);
            input.drain(at..end);
        }
        Change::Insert(at, token) => {
            let at = place(at);
            input.splice(at..at, token);
        }
        Change::Repeat(from, to) => {
            let (from, to) = (place(from), place(to));
            input.extend_from_within(from.min(to)..from.max(to));
        }
    }
}
