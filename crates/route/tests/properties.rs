//! Properties of resources, on a fuzz target's seeds (resources of pilot's golden files) and on
//! mutilations of them. `fuzz/` drives the same functions for longer (docs/testing.md).

#[path = "../../../fuzz/mutations.rs"]
mod mutations;
mod properties {
    pub(crate) mod resources;
}

use mutations::{mutilated, seeds};
use properties::resources;
use proptest::prelude::*;

const PROTOBUF: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\x80\x80\x80\x80\x08",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0a\0",
    b"\x12\0",
    b"\x1a\0",
    b"\x08\x01",
    b"\x0a\x01r",
    b"\x0a\x01c",
    b"*",
    b".*",
    b"(",
    b"%REQ(:path)%",
    b"%",
];

#[test]
fn seeds_hold() {
    for seed in seeds("xds") {
        resources::resource(&seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn mutilated_resources_hold(input in mutilated("xds", PROTOBUF)) {
        resources::resource(&input);
    }
}
