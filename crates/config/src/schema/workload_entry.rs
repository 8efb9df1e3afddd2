//! Schema of a WorkloadEntry, by itself or as an endpoint of a ServiceEntry.

use super::builder::{Schema, field, map, object, text, text_map, uint32};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    let address = text()
        .at_most(256)
        .rule(
            "!self.startsWith('unix://') || self.substring(7, 8) in ['/', '@']",
            "a unix socket needs an absolute path, or a name that starts with @",
        )
        .rule(
            "!self.startsWith('unix://') || !self.endsWith('/')",
            "a unix socket cannot be a directory",
        );
    let ports = map(port_number()).at_most(128).rule(
        "self.all(key, size(key) < 63 && key.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
        "the name of a port has letters, digits and '-', and at most 62 of them",
    );
    object([
        field(
            "address",
            "An IP address, a DNS name (in a ServiceEntry with resolution DNS), or unix:///path.",
            address,
        ),
        field(
            "ports",
            "The ports that the workload listens on, by the names of the service's ports.",
            ports,
        ),
        field("labels", "The workload's labels.", text_map().at_most(256)),
        field(
            "network",
            "The network that the address belongs to.",
            text().at_most(2048),
        ),
        field(
            "locality",
            "Where the workload is, as region/zone/subzone.",
            text().at_most(2048),
        ),
        field(
            "weight",
            "The workload's share, relative to the others.",
            uint32(),
        ),
        field(
            "serviceAccount",
            "The service account that the workload runs as.",
            text().at_most(253),
        ),
    ])
    .rule(
        "has(self.address) || has(self.network)",
        "address is required",
    )
    .rule(
        "!(has(self.address) && self.address.startsWith('unix://') && has(self.ports))",
        "a unix socket has no ports",
    )
}

/// A port from 1 to 65535. The bounds are a rule, as in Istio, so that they have a message.
pub(super) fn port_number() -> Schema {
    uint32().rule(
        "0 < self && self <= 65535",
        "a port is a number from 1 to 65535",
    )
}
