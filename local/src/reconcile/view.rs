//! All objects as they are now, for the control plane and for `get`; and the summary for people.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Controller;
use super::deployment::Wanted;
use super::endpoints;
use super::pods::Running;
use super::service::Resolved;
use crate::api::wire::{Status, WorkloadStatus};
use crate::objects::{Body, Key, Kind, Manifest};
use crate::pod::{data, status};

/// Problems of one kind shown at once; the log has all of them.
const MOST_PROBLEMS: usize = 50;

impl Controller {
    /// Writes the object directory and the summary.
    pub(super) fn show(&mut self) {
        let view = self.objects();
        match self.directory.sync(&view) {
            Ok(()) => drop(self.problems.remove("objects")),
            Err(error) => self.problem("objects", &crate::chain(&error)),
        }
        self.view = view;
        let status = self.status();
        self.setup.status.send_if_modified(|present| {
            let changed = *present != status;
            *present = status;
            changed
        });
    }

    fn objects(&self) -> BTreeMap<Key, Value> {
        let mut view: BTreeMap<Key, Value> = BTreeMap::new();
        for manifest in self.world.values() {
            if !matches!(manifest.body, Body::Pod(_)) {
                view.insert(manifest.key.clone(), self.base(manifest));
            }
        }
        for wanted in self.deployments() {
            self.show_deployment(&wanted, &mut view);
        }
        for service in &self.services {
            self.show_service(service, &mut view);
        }
        for ((namespace, name), pod) in &self.pods {
            view.insert(Key::new(Kind::POD, namespace, name), self.pod_object(pod));
        }
        view
    }

    /// The manifest with what the platform assigned.
    fn base(&self, manifest: &Manifest) -> Value {
        let mut value = manifest.value.clone();
        if let Some(record) = self.assigned.get(&manifest.key) {
            let metadata = &mut value["metadata"];
            metadata["uid"] = record.uid.as_str().into();
            metadata["creationTimestamp"] = record.created.as_str().into();
            metadata["generation"] = record.generation.into();
        }
        match &manifest.body {
            Body::Secret(secret) => {
                if let Some(object) = value.as_object_mut() {
                    object.remove("stringData");
                }
                value["data"] = json!(data::secret_data(secret));
            }
            Body::Passive if manifest.key.kind == Kind::NAMESPACE => {
                let name = manifest.key.name.as_str();
                value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
                value["status"] = json!({"phase": "Active"});
            }
            _ => {}
        }
        value
    }

    fn show_deployment(&self, wanted: &Wanted, view: &mut BTreeMap<Key, Value>) {
        let Some(value) = view.get_mut(&wanted.key) else {
            return;
        };
        value["spec"]["replicas"] = wanted.replicas.into();
        value["spec"]["template"] = wanted.template.clone();
        value["status"] = self.deployment_status(wanted);
        let labels = value["metadata"]["labels"].clone();
        let uid = value["metadata"]["uid"].clone();
        for (hash, replicas, ready) in self.replica_counts(wanted) {
            let name = format!("{}-{hash}", wanted.key.name);
            let key = Key::new(Kind::REPLICA_SET, &wanted.key.namespace, &name);
            let record = self.assigned.get(&key);
            let object = json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "namespace": wanted.key.namespace,
                    "labels": labels,
                    "uid": record.map(|record| record.uid.clone()),
                    "creationTimestamp": record.map(|record| record.created.clone()),
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "Deployment", "name": wanted.key.name,
                        "uid": uid, "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": {"replicas": if hash == wanted.hash { wanted.replicas } else { 0 }},
                "status": {"replicas": replicas, "readyReplicas": ready},
            });
            view.insert(key, object);
        }
    }

    fn replica_counts(&self, wanted: &Wanted) -> Vec<(String, usize, usize)> {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        counts.insert(&wanted.hash, (0, 0));
        for pod in self.pods.values().filter(|pod| pod.owner == wanted.key) {
            let (all, ready) = counts.entry(&pod.template).or_default();
            *all += 1;
            *ready += usize::from(pod.observed().ready());
        }
        counts
            .into_iter()
            .map(|(hash, (all, ready))| (hash.to_owned(), all, ready))
            .collect()
    }

    fn show_service(&self, service: &Resolved, view: &mut BTreeMap<Key, Value>) {
        let Some(value) = view.get_mut(&service.key) else {
            return;
        };
        value["spec"]["type"] = service.kind().into();
        if let Some(address) = service.cluster_ip {
            value["spec"]["clusterIP"] = address.to_string().into();
            value["spec"]["clusterIPs"] = json!([address.to_string()]);
        }
        for port in value["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["protocol"].is_null() {
                port["protocol"] = "TCP".into();
            }
            if port["targetPort"].is_null() {
                port["targetPort"] = port["port"].clone();
            }
            let number = port["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            if let Some(node_port) = number.and_then(|port| service.node_ports.get(&port)) {
                port["nodePort"] = (*node_port).into();
            }
        }
        let published: Vec<String> = self
            .setup
            .publisher
            .list()
            .into_iter()
            .filter(|one| one.namespace == service.key.namespace && one.service == service.key.name)
            .map(|one| format!("{}={}", one.port, one.address))
            .collect();
        if !published.is_empty() {
            let note = published.join(",");
            value["metadata"]["annotations"]["local.mesh/published"] = note.into();
        }
        if service.kind() == "LoadBalancer" {
            value["status"] = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}});
        }
        let value = value.clone();
        for (index, slice) in service.slices.iter().enumerate() {
            let name = format!("{}-{index}", service.key.name);
            let object = endpoints::to_json(slice, &name, &value, "local");
            view.insert(
                Key::new(Kind::ENDPOINT_SLICE, &service.key.namespace, &name),
                object,
            );
        }
    }

    fn pod_object(&self, pod: &Running) -> Value {
        let mut value = pod.object.clone();
        if let Some(deleting) = pod.deleting {
            value["metadata"]["deletionTimestamp"] = status::seconds(deleting).into();
            let grace = value["spec"]["terminationGracePeriodSeconds"]
                .as_i64()
                .unwrap_or(30);
            value["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        }
        let node = self.setup.node.machine.address;
        value["status"] = pod.observed().to_json(node, pod.deleting.is_some());
        value
    }

    fn status(&self) -> Status {
        let mut workloads: Vec<WorkloadStatus> = self
            .deployments()
            .iter()
            .map(|wanted| self.workload(wanted))
            .collect();
        for manifest in self.world.values() {
            if matches!(manifest.body, Body::Pod(_)) {
                workloads.push(self.bare_pod(&manifest.key));
            }
        }
        let mut problems = self.loaded.errors.clone();
        problems.extend(self.problems.values().cloned());
        problems.extend(self.loaded.warnings.iter().cloned());
        problems.truncate(MOST_PROBLEMS);
        let noted = self.world.values().flat_map(|manifest| {
            let notes = manifest.notes.iter();
            notes.map(|note| format!("{}: {}: {note}", manifest.source, manifest.key))
        });
        let mut notes: Vec<String> = noted.collect();
        notes.truncate(MOST_PROBLEMS);
        Status {
            notes,
            workloads,
            published: self.setup.publisher.list(),
            problems,
            pid: 0,
        }
    }

    fn workload(&self, wanted: &Wanted) -> WorkloadStatus {
        let pods: Vec<&Running> = self
            .pods
            .values()
            .filter(|pod| pod.owner == wanted.key)
            .collect();
        let current: Vec<&&Running> = pods
            .iter()
            .filter(|pod| pod.template == wanted.hash && pod.deleting.is_none())
            .collect();
        let ready = current.iter().filter(|pod| pod.observed().ready()).count();
        let running = current
            .iter()
            .any(|pod| pod.observed().phase == status::Phase::Running);
        let outdated = pods
            .iter()
            .filter(|pod| pod.template != wanted.hash)
            .count();
        let reason = self.problems.get(&wanted.key.to_string()).cloned();
        let reason = reason.or_else(|| current.iter().find_map(|pod| pod.observed().reason()));
        let mut workload = WorkloadStatus {
            namespace: wanted.key.namespace.clone(),
            name: wanted.key.name.clone(),
            desired: count(wanted.replicas),
            ready: count(ready),
            outdated: count(outdated),
            phase: if running { "running" } else { "pending" }.to_owned(),
            reason,
        };
        if workload.is_ready() {
            "ready".clone_into(&mut workload.phase);
        }
        workload
    }

    fn bare_pod(&self, key: &Key) -> WorkloadStatus {
        let observed = self
            .pods
            .get(&(key.namespace.clone(), key.name.clone()))
            .filter(|pod| pod.deleting.is_none())
            .map(Running::observed);
        use status::Phase;
        // A pod that has done its work is as good as a ready one.
        let good = observed
            .as_ref()
            .is_some_and(|pod| pod.ready() || pod.phase == Phase::Succeeded);
        let phase = match observed.as_ref().map(|pod| pod.phase) {
            _ if good => "ready",
            Some(Phase::Running) => "running",
            _ => "pending",
        };
        WorkloadStatus {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            desired: 1,
            ready: u32::from(good),
            outdated: 0,
            phase: phase.to_owned(),
            reason: self
                .problems
                .get(&key.to_string())
                .cloned()
                .or_else(|| observed.and_then(|pod| pod.reason())),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
