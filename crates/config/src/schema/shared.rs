//! Parts of Istio's API that several kinds use.

use super::builder::{Field, Schema, field, map, object, required, text, texts, uint32};

/// The field `exportTo`.
pub(super) fn export_to() -> Field {
    field(
        "exportTo",
        "Namespaces that see the object: \".\" is its own, \"*\" all; all if left out, unless the mesh says otherwise.",
        texts(),
    )
}

/// The workloads a policy is for (`matchLabels`).
pub(super) fn selector() -> Schema {
    let value = text().at_most(63).rule(
        "!self.contains('*')",
        "wildcards are not supported in the value of a label",
    );
    let labels = map(value)
        .at_most(4096)
        .rule(
            "self.all(key, !key.contains('*'))",
            "wildcards are not supported in the name of a label",
        )
        .rule(
            "self.all(key, key.size() != 0)",
            "the name of a label must not be empty",
        );
    object([field(
        "matchLabels",
        "Labels that a workload must have, all of them.",
        labels,
    )])
}

/// The workloads a Sidecar or ServiceEntry is for (`labels`).
pub(super) fn workload_selector() -> Schema {
    let value = text().at_most(63).rule(
        "!self.contains('*')",
        "wildcards are not supported in the value of a label",
    );
    object([field(
        "labels",
        "Labels that a workload must have, all of them.",
        map(value).at_most(256),
    )])
}

/// What a policy is attached to, by reference.
pub(super) fn target_ref() -> Schema {
    object([
        field(
            "group",
            "API group of the target; empty for the core group.",
            text()
                .at_most(253)
                .pattern(r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
        ),
        required(
            "kind",
            "Kind of the target.",
            text()
                .at_least(1)
                .at_most(63)
                .pattern("^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"),
        ),
        required(
            "name",
            "Name of the target.",
            text().at_least(1).at_most(253),
        ),
        field(
            "namespace",
            "Must be empty: the target stands in the policy's namespace.",
            text().rule(
                "self.size() == 0",
                "the target must be in the same namespace",
            ),
        ),
    ])
}

/// The field `port` of a destination.
pub(super) fn port_selector() -> Schema {
    object([field("number", "The port's number.", uint32())])
}

/// A service, or a part of it, that traffic is sent to.
pub(super) fn destination() -> Schema {
    object([
        required(
            "host",
            "The service's name; a short one is completed with the object's namespace.",
            text(),
        ),
        field(
            "subset",
            "A subset that a DestinationRule defines for the service.",
            text(),
        ),
        field(
            "port",
            "The service's port; needed only if it has several.",
            port_selector(),
        ),
    ])
}

/// A port of a Gateway's server or a Sidecar's listener; `required` says which fields must be set.
pub(super) fn listener_port(required_fields: bool) -> Schema {
    let choose = if required_fields { required } else { field };
    object([
        choose("number", "The port's number.", uint32()),
        choose(
            "protocol",
            "HTTP, HTTPS, HTTP2, GRPC, MONGO, TCP or TLS.",
            text(),
        ),
        choose("name", "A name for the port.", text()),
        field("targetPort", "Has no effect.", uint32()),
    ])
}
