//! Schema of a PeerAuthentication.

use super::builder::{Schema, field, map, object, words};
use super::shared::selector;

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        field(
            "selector",
            "The workloads that this is for; all of the namespace if left out.",
            selector(),
        ),
        field("mtls", "What all ports demand.", mutual_tls()),
        field(
            "portLevelMtls",
            "What single ports of the workload demand, by port number.",
            map(mutual_tls()).at_least(1).rule(
                "self.all(key, 0 < int(key) && int(key) <= 65535)",
                "a port is a number from 1 to 65535",
            ),
        ),
    ])
    .rule(
        "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
        "portLevelMtls needs a selector with labels",
    )
}

fn mutual_tls() -> Schema {
    object([field(
        "mode",
        "Whether clients must use mutual TLS (STRICT), may (PERMISSIVE) or cannot (DISABLE).",
        words(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]),
    )])
}
