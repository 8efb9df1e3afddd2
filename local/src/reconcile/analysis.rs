//! What is doubtful among the mesh's objects: references that lead nowhere, and conflicts.

use k8s_openapi::api::core::v1::Service;
use mesh_config::analyse::{KnownService, Severity, analyse};
use mesh_config::decode::{self, Decoded, Source};

use super::Controller;
use crate::api::wire::Finding;
use crate::objects::kind::Role;
use crate::objects::{Body, Key};

impl Controller {
    /// Findings among everything that was read last, whether it takes effect yet or not.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut resources = Vec::new();
        let mut services = vec![KnownService {
            host: "kubernetes.default.svc.cluster.local".to_owned(),
            ports: vec![443],
        }];
        for (key, manifest) in &self.loaded.manifests {
            match &manifest.body {
                Body::Service(object) => services.push(known(key, object)),
                Body::Passive if key.kind.info().role == Role::Mesh => {
                    // It was good when it was read.
                    match decode::object(&manifest.value, &Source::default()) {
                        Ok(Decoded::Mesh(resource)) => resources.push(resource),
                        Ok(Decoded::Other(_)) | Err(_) => {}
                    }
                }
                _ => {}
            }
        }
        let found = analyse(&resources, Some(&services), &self.mesh);
        found
            .into_iter()
            .filter(|finding| finding.severity > Severity::Info)
            .map(|finding| {
                let (namespace, name) = finding.object.split_once('/').unwrap_or(("", ""));
                let kind = finding.kind.to_string().to_ascii_lowercase();
                Finding {
                    object: format!("{kind}/{name}"),
                    namespace: namespace.to_owned(),
                    message: match finding.path.as_str() {
                        "" => format!("{} ({})", finding.message, finding.code),
                        path => format!("{path}: {} ({})", finding.message, finding.code),
                    },
                }
            })
            .collect()
    }
}

fn known(key: &Key, service: &Service) -> KnownService {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    KnownService {
        host: format!("{}.{}.svc.cluster.local", key.name, key.namespace),
        ports: ports
            .filter_map(|port| u16::try_from(port.port).ok())
            .collect(),
    }
}
