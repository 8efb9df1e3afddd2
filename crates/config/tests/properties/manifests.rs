//! What must hold of manifests, whatever text comes: each object is decoded or refused with a
//! reason, never both, and what is decoded can be analysed.

use mesh_config::analyse::analyse;
use mesh_config::decode::{self, Decoded};
use mesh_config::{MeshConfig, ProxyConfig, validate};

/// A text of manifests; also taken for the settings that stand in a ConfigMap and in annotations.
pub(crate) fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let objects = decode::documents(text, "f.yaml");
    assert_eq!(objects, decode::documents(text, "f.yaml"));
    let mut resources = Vec::new();
    for object in objects {
        match object {
            Ok(Decoded::Mesh(resource)) => {
                assert!(validate(&resource).is_ok(), "decoded, but not valid");
                resources.push(resource);
            }
            Ok(Decoded::Other(_)) => {}
            Err(refused) => {
                assert!(!refused.errors.is_empty(), "refused without a reason");
                assert!(!refused.to_string().is_empty());
            }
        }
    }
    let mesh = decode::mesh_config(text, "mesh").unwrap_or_else(|_| MeshConfig::default());
    let _ = decode::proxy_config(text, &ProxyConfig::default(), "annotation");
    let _ = analyse(&resources, Some(&[]), &mesh);
}
