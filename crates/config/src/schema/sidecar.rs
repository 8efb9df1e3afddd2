//! Schema of a Sidecar.

use super::builder::{Field, Schema, field, list, object, required, text, texts, words};
use super::destination_rule::connection_pool;
use super::server_tls;
use super::shared::{destination, listener_port, workload_selector};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        field(
            "workloadSelector",
            "The workloads that this is for; all of the namespace if left out.",
            workload_selector(),
        ),
        field(
            "ingress",
            "What the proxy listens for in place of the workload's ports.",
            list(ingress()),
        ),
        field("egress", "What the workload can reach.", list(egress())),
        field(
            "inboundConnectionPool",
            "Limits of what reaches the workload.",
            connection_pool(),
        ),
        field(
            "outboundTrafficPolicy",
            "What becomes of traffic to hosts that the mesh does not know.",
            object([
                field(
                    "mode",
                    "Refuse it, or let it pass.",
                    words(&["REGISTRY_ONLY", "ALLOW_ANY"]),
                ),
                field("egressProxy", "A service that gets it.", destination()),
            ]),
        ),
    ])
}

fn ingress() -> Schema {
    object([
        required("port", "The port.", listener_port(false)),
        bind(),
        capture_mode(),
        field(
            "defaultEndpoint",
            "Where the workload listens: 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path.",
            text(),
        ),
        field("tls", "How TLS is terminated.", server_tls::schema()),
        field(
            "connectionPool",
            "Limits of what reaches the workload at this port.",
            connection_pool(),
        ),
    ])
}

fn egress() -> Schema {
    object([
        field("port", "The port; all if left out.", listener_port(false)),
        bind(),
        capture_mode(),
        required(
            "hosts",
            "Services, as NAMESPACE/HOST; \".\" is the own namespace, \"*\" stands for any.",
            texts(),
        ),
    ])
}

fn bind() -> Field {
    field("bind", "The address to listen on.", text())
}

fn capture_mode() -> Field {
    field(
        "captureMode",
        "How traffic gets here: by capture, or because the application sends it here.",
        words(&["DEFAULT", "IPTABLES", "NONE"]),
    )
}
