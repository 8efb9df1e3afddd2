//! Schema of a ServiceEntry.

use super::builder::{Schema, field, list, object, required, text, texts, words};
use super::shared::{export_to, workload_selector};
use super::workload_entry::{self, port_number};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    let host = text().rule("self != '*'", "a host cannot be the bare wildcard *");
    object([
        required(
            "hosts",
            "The service's names; a prefix \"*.\" is allowed with resolution NONE.",
            list(host).at_least(1).at_most(256),
        ),
        field(
            "addresses",
            "Virtual addresses or ranges of the service.",
            list(text().at_most(64)).at_most(256),
        ),
        field("ports", "The service's ports.", ports()),
        field(
            "location",
            "Whether the service is part of the mesh, with its identities.",
            words(&["MESH_EXTERNAL", "MESH_INTERNAL"]),
        ),
        field(
            "resolution",
            "Where the addresses of endpoints come from.",
            words(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
        ),
        field(
            "endpoints",
            "The service's endpoints.",
            list(workload_entry::schema()).at_most(4096),
        ),
        field(
            "workloadSelector",
            "Endpoints by label: WorkloadEntry objects and pods.",
            workload_selector(),
        ),
        export_to(),
        field(
            "subjectAltNames",
            "Names of which the server's certificate must have one.",
            texts(),
        ),
    ])
    .at_most_one(&["workloadSelector", "endpoints"])
    .rule(
        "!((has(self.addresses) ? self.addresses : []).exists(a, a.contains('/')) && !((has(self.resolution) ? self.resolution : 'NONE') in ['STATIC', 'NONE']))",
        "a range in addresses needs resolution NONE or STATIC",
    )
    .rule(
        "(has(self.resolution) && self.resolution != 'NONE') || !has(self.endpoints)",
        "resolution NONE (the default) takes no endpoints",
    )
    .rule(
        "!(has(self.resolution) && self.resolution == 'DNS_ROUND_ROBIN') || !has(self.endpoints) || self.endpoints.size() <= 1",
        "resolution DNS_ROUND_ROBIN takes one endpoint",
    )
}

fn ports() -> Schema {
    let port = object([
        required("number", "The port's number.", port_number()),
        required(
            "name",
            "A name for the port, unique in the service.",
            text().at_most(256),
        ),
        field(
            "protocol",
            "HTTP, HTTPS, HTTP2, GRPC, MONGO, TCP or TLS.",
            text().at_most(256),
        ),
        field(
            "targetPort",
            "The port of the endpoints; the same if left out.",
            port_number(),
        ),
    ]);
    list(port).at_most(256).keyed_by("name").rule(
        "self.all(a, self.exists_one(b, a.number == b.number))",
        "a port number is listed twice",
    )
}
