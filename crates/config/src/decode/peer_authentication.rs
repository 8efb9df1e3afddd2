//! Reads a PeerAuthentication.

use std::collections::BTreeMap;

use super::reader::{Fields, Node};
use super::scope::{SelectorKey, selector};
use crate::number::PortNumber;
use crate::peer_authentication::{MtlsMode, PeerAuthentication};

pub(super) fn read(spec: &Node<'_>) -> Option<PeerAuthentication> {
    let fields = spec.open(&["selector", "mtls", "portLevelMtls"], &[])?;
    let selector = selector(&fields, "selector", SelectorKey::MatchLabels);
    let port_level = port_level(&fields);
    if selector.is_none() && fields.get("portLevelMtls").is_some() {
        fields.error_at::<()>(
            "portLevelMtls",
            "needs a selector",
            "ports are those of workloads: add selector.matchLabels",
        );
    }
    Some(PeerAuthentication {
        selector,
        mtls: fields.get("mtls").and_then(|node| mode(&node)),
        port_level,
    })
}

fn mode(node: &Node<'_>) -> Option<MtlsMode> {
    let words = [
        ("UNSET", None),
        ("DISABLE", Some(MtlsMode::Disable)),
        ("PERMISSIVE", Some(MtlsMode::Permissive)),
        ("STRICT", Some(MtlsMode::Strict)),
    ];
    node.open(&["mode"], &[])?.choice("mode", &words, &[])?
}

fn port_level(fields: &Fields<'_>) -> BTreeMap<PortNumber, Option<MtlsMode>> {
    let entries = fields
        .get("portLevelMtls")
        .map(|node| node.entries())
        .unwrap_or_default();
    let read = |(key, node): (&str, Node<'_>)| {
        let Some(port) = key.parse().ok().and_then(PortNumber::new) else {
            return node.error(
                format!("{key:?} is not a port"),
                "use a number from 1 to 65535 as the key",
            );
        };
        Some((port, mode(&node)))
    };
    entries.into_iter().filter_map(read).collect()
}
