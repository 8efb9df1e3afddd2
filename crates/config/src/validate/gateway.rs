//! Ports that servers share.

use super::{Problems, duplicates};
use crate::gateway::Gateway;

pub(super) fn check(spec: &Gateway, found: &mut Problems) {
    for index in duplicates(spec.servers.iter().map(|server| &server.port.name)) {
        let name = &spec.servers[index].port.name;
        found.error(
            format!("spec.servers[{index}].port.name"),
            format!("port name {name:?} is used twice"),
            "give each server's port a name of its own",
        );
    }
    for (index, server) in spec.servers.iter().enumerate() {
        let same_port = |other: &&crate::gateway::Server| {
            other.port.number == server.port.number && other.bind == server.bind
        };
        let Some(other) = spec.servers[..index].iter().find(same_port) else {
            continue;
        };
        let families = (other.port.protocol.is_tls(), server.port.protocol.is_tls());
        let plain_kinds = other.port.protocol.is_http() != server.port.protocol.is_http();
        if families.0 != families.1 || (!families.0 && plain_kinds) {
            found.error(
                format!("spec.servers[{index}].port.protocol"),
                format!(
                    "port {} cannot speak both {} and {}",
                    server.port.number, other.port.protocol, server.port.protocol
                ),
                "use different ports",
            );
        }
    }
    if spec.selector.is_empty() {
        found.warn(
            "spec.selector",
            "selects every proxy of the mesh",
            "name the labels of the gateway's pods, for example istio: ingressgateway",
        );
    }
}
