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
        let mut aliases = Vec::new();
        for (key, manifest) in &self.loaded.manifests {
            match &manifest.body {
                Body::Service(object) => match external_name(object) {
                    Some(target) => aliases.push((host(key), target)),
                    None => services.push(known(key, object)),
                },
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
        add_aliases(&mut services, aliases);
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

fn host(key: &Key) -> String {
    format!("{}.{}.svc.cluster.local", key.name, key.namespace)
}

/// What a Service of type ExternalName is another name of.
fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    let target = spec.external_name.as_deref()?;
    (spec.type_.as_deref() == Some("ExternalName")).then_some(target)
}

/// Adds the names that lead to known services, be it by way of other names.
fn add_aliases(services: &mut Vec<KnownService>, mut aliases: Vec<(String, &str)>) {
    loop {
        let before = aliases.len();
        aliases.retain(|(host, target)| {
            let Some(end) = services.iter().find(|service| service.host == *target) else {
                return true;
            };
            let ports = end.ports.clone();
            services.push(KnownService {
                host: host.clone(),
                ports,
            });
            false
        });
        if aliases.len() == before {
            return;
        }
    }
}

fn known(key: &Key, service: &Service) -> KnownService {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    KnownService {
        host: host(key),
        ports: ports
            .filter_map(|port| u16::try_from(port.port).ok())
            .collect(),
    }
}
