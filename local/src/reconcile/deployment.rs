//! Deployments: the number of pods they ask for, of the template they have now.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::admission::Template;
use super::rollout::{self, Member, Strategy};
use super::{Controller, PodKey};
use crate::objects::{Body, Key, Kind, names};
use crate::pod::status;

/// What `kubectl rollout restart` writes into a template.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A Deployment as it stands now: its manifest, plus `scale` and `rollout restart`.
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) replicas: usize,
    /// `spec.template`, with the restart annotation.
    pub(super) template: Value,
    pub(super) hash: String,
    pub(super) min_ready: Duration,
    strategy: Result<Strategy, String>,
}

impl Controller {
    /// One step of every Deployment's rollout.
    pub(super) fn run_deployments(&mut self) {
        let all = self.deployments();
        let orphans: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.owner.kind == Kind::DEPLOYMENT)
            .filter(|(_, pod)| all.iter().all(|wanted| wanted.key != pod.owner))
            .map(|(key, _)| key.clone())
            .collect();
        for key in orphans {
            self.stop_pod(&key);
        }
        for wanted in all {
            let result = self.run_deployment(&wanted);
            self.note(&wanted.key, result);
        }
    }

    /// Every Deployment as it stands now.
    pub(super) fn deployments(&self) -> Vec<Wanted> {
        let all = self.world.values();
        all.filter_map(|manifest| match &manifest.body {
            Body::Deployment(object) => Some(self.wanted(&manifest.key, object, &manifest.value)),
            _ => None,
        })
        .collect()
    }

    fn wanted(&self, key: &Key, object: &Deployment, value: &Value) -> Wanted {
        let record = self.assigned.get(key);
        let spec = object.spec.as_ref();
        let written = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let replicas = record.and_then(|record| record.replicas).unwrap_or(written);
        let replicas = usize::try_from(replicas).unwrap_or(0);
        let mut template = value["spec"]["template"].clone();
        if let Some(time) = record.and_then(|record| record.restarted_at.as_ref()) {
            template["metadata"]["annotations"][RESTARTED_AT] = time.as_str().into();
        }
        let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        Wanted {
            key: key.clone(),
            replicas,
            hash: names::template_hash(&template),
            template,
            min_ready: Duration::from_secs(u64::try_from(min_ready).unwrap_or(0)),
            strategy: Strategy::parse(spec.and_then(|spec| spec.strategy.as_ref()), replicas),
        }
    }

    fn run_deployment(&mut self, wanted: &Wanted) -> Result<(), String> {
        let strategy = wanted.strategy.clone()?;
        let members = self.members(wanted);
        let ending = self
            .pods
            .values()
            .filter(|pod| pod.owner == wanted.key && pod.deleting.is_some())
            .count();
        let step = rollout::step(wanted.replicas, strategy, &members, ending);
        for name in step.delete {
            self.stop_pod(&(wanted.key.namespace.clone(), name));
        }
        if step.create > 0 {
            let replica_set = format!("{}-{}", wanted.key.name, wanted.hash);
            let key = Key::new(Kind::REPLICA_SET, &wanted.key.namespace, &replica_set);
            let now = status::seconds(Timestamp::now());
            let uid = self.assigned.record(&key, &wanted.hash, &now).uid.clone();
            let template = Template {
                namespace: &wanted.key.namespace,
                template: &wanted.template,
                owner: Some((&replica_set, &uid, &wanted.hash)),
            };
            for _ in 0..step.create {
                self.start_pod(&wanted.key, &wanted.hash, &template)?;
            }
        }
        Ok(())
    }

    fn members(&self, wanted: &Wanted) -> Vec<Member> {
        let now = Timestamp::now();
        let mut members: Vec<(Timestamp, Member)> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.owner == wanted.key && pod.deleting.is_none())
            .map(|((_, name), pod)| {
                let available = pod.observed().ready_since.is_some_and(|since| {
                    now.duration_since(since).unsigned_abs() >= wanted.min_ready
                });
                let current = pod.template == wanted.hash;
                (
                    pod.created,
                    Member {
                        name: name.clone(),
                        current,
                        available,
                    },
                )
            })
            .collect();
        members.sort_by_key(|(created, _)| *created);
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// Whether a rollout waits for time to pass.
    pub(super) fn waits_for_time(&self) -> bool {
        self.deployments()
            .iter()
            .filter(|wanted| !wanted.min_ready.is_zero())
            .any(|wanted| {
                let members = self.members(wanted);
                members.iter().any(|member| !member.available)
                    || members.iter().any(|member| !member.current)
            })
    }

    /// `status` of a Deployment.
    pub(super) fn deployment_status(&self, wanted: &Wanted) -> Value {
        let members = self.members(wanted);
        let current = members.iter().filter(|member| member.current).count();
        let available = members.iter().filter(|member| member.available).count();
        let ready = self
            .pods
            .values()
            .filter(|pod| pod.owner == wanted.key && pod.deleting.is_none())
            .filter(|pod| pod.observed().ready())
            .count();
        let is_available = available >= wanted.replicas;
        let mut status = json!({
            "observedGeneration": self.assigned.get(&wanted.key).map_or(1, |record| record.generation),
            "replicas": members.len(),
            "updatedReplicas": current,
            "readyReplicas": ready,
            "availableReplicas": available,
            "conditions": [{
                "type": "Available",
                "status": if is_available { "True" } else { "False" },
            }],
        });
        if !is_available {
            status["unavailableReplicas"] = (wanted.replicas - available).into();
        }
        status
    }
}
