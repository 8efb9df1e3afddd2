//! Schema of a Gateway.

use super::builder::{Schema, field, list, object, required, text, text_map, texts};
use super::server_tls;
use super::shared::listener_port;

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        field("selector", "Labels of the gateway's pods.", text_map()),
        field("servers", "What the gateway listens for.", list(server())),
    ])
}

fn server() -> Schema {
    object([
        field("name", "A name for the server, seen in logs.", text()),
        required("port", "Where to listen.", listener_port(true)),
        field("bind", "The address to listen on; all if left out.", text()),
        required(
            "hosts",
            "Names that are served, as HOST or NAMESPACE/HOST; wildcards are allowed.",
            texts(),
        ),
        field("tls", "How TLS is terminated.", server_tls::schema()),
        field("defaultEndpoint", "Has no effect.", text()),
    ])
}
