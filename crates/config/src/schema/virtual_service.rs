//! Schema of a VirtualService: routes for TLS and TCP here, for HTTP below.

mod action;
mod http;

use super::builder::{
    Field, Schema, field, int32, list, object, required, text, text_map, texts, uint32,
};
use super::shared::{destination, export_to};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        field(
            "hosts",
            "Names in requests that the routes are for: services, DNS names, or wildcards such as *.example.com.",
            texts(),
        ),
        field(
            "gateways",
            "Gateways that apply the routes, as NAME or NAMESPACE/NAME; \"mesh\" means all sidecars, and is the default.",
            texts(),
        ),
        export_to(),
        field(
            "http",
            "Routes for HTTP, HTTP/2 and gRPC; the first that matches is taken.",
            list(http::route()),
        ),
        field(
            "tls",
            "Routes for TLS that is not terminated; the first that matches is taken.",
            list(tls_route()),
        ),
        field(
            "tcp",
            "Routes for other TCP connections; the first that matches is taken.",
            list(tcp_route()),
        ),
    ])
}

fn tls_route() -> Schema {
    let sni = required(
        "sniHosts",
        "Names that the client may ask for in the handshake; a prefix \"*.\" is allowed.",
        texts(),
    );
    object([
        required(
            "match",
            "Conditions of which one must hold.",
            list(object([sni].into_iter().chain(connection_match()))),
        ),
        weighted_destinations(),
    ])
}

fn tcp_route() -> Schema {
    let subnet = field("sourceSubnet", "Has no effect.", text());
    object([
        field(
            "match",
            "Conditions of which one must hold; all connections match if left out.",
            list(object([subnet].into_iter().chain(connection_match()))),
        ),
        weighted_destinations(),
    ])
}

fn connection_match() -> [Field; 5] {
    let [labels, namespace, gateways] = source_match();
    [
        field(
            "destinationSubnets",
            "Addresses or ranges that the client connects to.",
            texts(),
        ),
        field("port", "The port that the client connects to.", uint32()),
        labels,
        namespace,
        gateways,
    ]
}

/// What every match can say about where traffic comes from.
fn source_match() -> [Field; 3] {
    [
        field(
            "sourceLabels",
            "Labels that the calling workload must have.",
            text_map(),
        ),
        field(
            "sourceNamespace",
            "Namespace that the calling workload must be in.",
            text(),
        ),
        field(
            "gateways",
            "Gateways that the match is for, in place of the object's.",
            texts(),
        ),
    ]
}

fn weighted_destinations() -> Field {
    field(
        "route",
        "Where the connections go.",
        list(object([
            required("destination", "A service.", destination()),
            weight(),
        ])),
    )
}

fn weight() -> Field {
    field(
        "weight",
        "The destination's share, relative to the sum of all weights of the route.",
        int32(),
    )
}
