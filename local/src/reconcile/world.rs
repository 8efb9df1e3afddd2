//! All objects that shall exist: those of files, and those the platform makes for each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Controller;
use crate::objects::{Body, Key, Kind, Manifest};
use crate::pod::data::{self, Data};
use crate::pod::status;

/// The ConfigMap that every proxy mounts.
const ROOT_CERTIFICATE: &str = "istio-ca-root-cert";
const PLATFORM: &str = "the platform";

impl Controller {
    /// The manifests, plus default namespace, accounts and root certificates; each with a record.
    /// Whether anything changed.
    pub(super) fn build_world(&mut self) -> bool {
        let mut world = self.loaded.manifests.clone();
        for name in ["default", "kube-system"] {
            add(&mut world, made(Kind::NAMESPACE, "", name, Body::Passive));
        }
        let namespaces: BTreeSet<String> = world
            .keys()
            .filter(|key| key.kind == Kind::NAMESPACE)
            .map(|key| key.name.clone())
            .collect();
        self.leave_out_homeless(&mut world, &namespaces);
        for namespace in &namespaces {
            add(
                &mut world,
                made(Kind::SERVICE_ACCOUNT, namespace, "default", Body::Passive),
            );
            if let Some(root) = &self.root_certificate {
                let map = root_certificate(namespace, root);
                // Not `add`: the true root always wins.
                world.insert(map.key.clone(), map);
            }
        }
        let written = self.relabel(&mut world);
        if world == self.world {
            return false;
        }
        self.world = world;
        let now = status::seconds(Timestamp::now());
        for (key, manifest) in &self.world {
            let content = hash(written.get(key).unwrap_or(&manifest.value));
            self.assigned.record(key, &content, &now);
        }
        let keep: BTreeSet<String> = self.world.keys().map(Key::to_string).collect();
        let replica_sets = |name: &str| name.starts_with("ReplicaSet ");
        self.assigned
            .retain(|name| keep.contains(name) || replica_sets(name));
        true
    }

    fn leave_out_homeless(
        &mut self,
        world: &mut BTreeMap<Key, Manifest>,
        namespaces: &BTreeSet<String>,
    ) {
        let homeless: Vec<Key> = world
            .keys()
            .filter(|key| !key.namespace.is_empty() && !namespaces.contains(&key.namespace))
            .cloned()
            .collect();
        let mut problems = Vec::new();
        for key in homeless {
            let Some(manifest) = world.remove(&key) else {
                continue;
            };
            let namespace = &key.namespace;
            problems.push((key.to_string(), format!(
                "{}: {key}: metadata.namespace: namespace {namespace} does not exist; add `{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}`",
                manifest.source
            )));
        }
        self.problems_of("namespace of", problems);
    }

    /// The text of `mesh` in ConfigMap istio-system/istio.
    pub(super) fn mesh_config(&self) -> Option<&str> {
        let key = Key::new(Kind::CONFIG_MAP, "istio-system", "istio");
        self.world.get(&key)?.value["data"]["mesh"].as_str()
    }

    /// Gives pods what they may refer to.
    pub(super) fn share_data(&self) {
        let mut data = Data::default();
        for (key, manifest) in &self.world {
            let name = (key.namespace.clone(), key.name.clone());
            match &manifest.body {
                Body::ConfigMap(object) => {
                    data.config_maps.insert(name, data::config_map(object));
                }
                Body::Secret(object) => {
                    data.secrets.insert(name, data::secret(object));
                }
                Body::Passive if key.kind == Kind::SERVICE_ACCOUNT => {
                    let uid = self.assigned.get(key).map(|record| record.uid.clone());
                    data.accounts.insert(name, uid.unwrap_or_default());
                }
                _ => {}
            }
        }
        data.service_variables = self.service_variables();
        self.setup.node.data.send_if_modified(|present| {
            let changed = **present != data;
            if changed {
                *present = Arc::new(data);
            }
            changed
        });
    }

    fn service_variables(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let namespaces = self.world.keys().filter(|key| key.kind == Kind::NAMESPACE);
        let api = [(Some("https".to_owned()), 443, "TCP".to_owned())];
        for namespace in namespaces {
            let variables =
                data::service_variables("kubernetes", &crate::net::API.to_string(), &api);
            all.entry(namespace.name.clone())
                .or_default()
                .extend(variables);
        }
        for service in &self.services {
            let Some(address) = service.cluster_ip else {
                continue;
            };
            let ports: Vec<_> = service.ports();
            let variables =
                data::service_variables(&service.key.name, &address.to_string(), &ports);
            all.entry(service.key.namespace.clone())
                .or_default()
                .extend(variables);
        }
        all
    }
}

fn add(world: &mut BTreeMap<Key, Manifest>, manifest: Manifest) {
    world.entry(manifest.key.clone()).or_insert(manifest);
}

fn made(kind: Kind, namespace: &str, name: &str, body: Body) -> Manifest {
    let key = Key::new(kind, namespace, name);
    let mut value = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.info().kind,
        "metadata": {"name": name},
    });
    if kind.info().namespaced {
        value["metadata"]["namespace"] = namespace.into();
    } else {
        value["metadata"]["labels"] = json!({"kubernetes.io/metadata.name": name});
    }
    Manifest {
        key,
        value,
        body,
        source: PLATFORM.to_owned(),
        notes: Vec::new(),
    }
}

fn root_certificate(namespace: &str, pem: &str) -> Manifest {
    let object = ConfigMap {
        data: Some([("root-cert.pem".to_owned(), pem.to_owned())].into()),
        ..ConfigMap::default()
    };
    let body = Body::ConfigMap(Box::new(object));
    let mut manifest = made(Kind::CONFIG_MAP, namespace, ROOT_CERTIFICATE, body);
    manifest.value["data"] = json!({"root-cert.pem": pem});
    manifest.value["metadata"]["labels"] = json!({"istio.io/config": "true"});
    manifest
}

/// A short hash of a value, equal for equal values.
pub(super) fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
