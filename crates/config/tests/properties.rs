//! Properties of manifests, on a fuzz target's seeds and on mutilations of them. `fuzz/` drives
//! the same functions for longer (docs/testing.md).

#[path = "../../../fuzz/mutations.rs"]
mod mutations;
mod properties {
    pub(crate) mod manifests;
}

use mutations::{mutilated, seeds};
use properties::manifests;
use proptest::prelude::*;

const YAML: &[&[u8]] = &[
    b"\n",
    b"\n---\n",
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"*",
    b"&a ",
    b"*a",
    b"  ",
    b"~",
    b"-1",
    b"1e9",
    b"99999999999",
    b"null",
    b"true",
    b"|\n",
    b"#",
    b"!!binary ",
    b"\t",
    b"name: ",
    b"spec:\n",
    b"0s",
    b"\xc3\xa9",
];

#[test]
fn seeds_hold() {
    for seed in seeds("manifests") {
        manifests::text(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn mutilated_manifests_hold(input in mutilated("manifests", YAML)) {
        manifests::text(&input);
    }
}
