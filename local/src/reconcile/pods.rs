//! The pods there are: made, told to end, forgotten when they are gone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::admission::{self, Template};
use super::world::hash;
use super::{Controller, PodKey};
use crate::objects::{Body, Key, Kind};
use crate::pod::status::{self, Observed};
use crate::pod::{self, Handle};

/// A pod that has been started and isn't gone.
#[derive(Debug)]
pub(super) struct Running {
    /// The pod's task.
    pub(super) handle: Handle,
    /// Deployment or bare pod it was made for.
    pub(super) owner: Key,
    /// Template hash of a Deployment's pod; content hash of a bare one.
    pub(super) template: String,
    /// When it was made.
    pub(super) created: Timestamp,
    /// Since when it is being ended.
    pub(super) deleting: Option<Timestamp>,
    /// The admitted pod as an object without status.
    pub(super) object: Value,
}

impl Running {
    pub(super) fn observed(&self) -> Observed {
        self.handle.observed()
    }
}

impl Controller {
    /// Admits and starts a pod.
    ///
    /// # Errors
    /// Why it was refused, in one line.
    pub(super) fn start_pod(
        &mut self,
        owner: &Key,
        hash: &str,
        template: &Template<'_>,
    ) -> Result<(), String> {
        let draft = admission::draft(template);
        let injected = self.inject(draft, template.namespace)?;
        let created = Timestamp::now();
        let uid = uuid::Uuid::new_v4().to_string();
        let mut pod = admission::finish(injected, &uid, &status::seconds(created))?;
        let name = pod.metadata.name.clone().unwrap_or_default();
        let key: PodKey = (template.namespace.to_owned(), name.clone());
        if self.pods.contains_key(&key) {
            return Err(format!("pod {name} exists already"));
        }
        pod.metadata
            .generate_name
            .take_if(|_| template.owner.is_none());
        let mut object = serde_json::to_value(&pod).map_err(|error| error.to_string())?;
        object["apiVersion"] = "v1".into();
        object["kind"] = "Pod".into();
        tracing::info!(pod = name, namespace = template.namespace, "starting pod");
        let handle = pod::start(pod, Arc::clone(&self.setup.node));
        let template = hash.to_owned();
        let owner = owner.clone();
        let running = Running {
            handle,
            owner,
            template,
            created,
            deleting: None,
            object,
        };
        self.pods.insert(key, running);
        Ok(())
    }

    /// Begins the end of a pod.
    pub(super) fn stop_pod(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.get_mut(key)
            && pod.deleting.is_none()
        {
            tracing::info!(pod = key.1, namespace = key.0, "ending pod");
            pod.deleting = Some(Timestamp::now());
            self.to_stop.push((key.clone(), None));
        }
    }

    /// Tells the pods to end whose endpoints are gone by now.
    pub(super) fn stop_marked(&mut self) {
        for (key, grace) in std::mem::take(&mut self.to_stop) {
            if let Some(pod) = self.pods.get(&key) {
                pod.handle.stop(grace);
            }
        }
    }

    /// Ends one pod by name; what made it makes another.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn delete_pod(
        &mut self,
        namespace: &str,
        name: &str,
        grace: Option<Duration>,
    ) -> Result<String, String> {
        let pod = self
            .find_pod(namespace, name)
            .ok_or_else(|| self.no_pod(namespace, name))?;
        let name = pod.handle.context().name().to_owned();
        let key = (namespace.to_owned(), name.clone());
        self.stop_pod(&key);
        self.to_stop.push((key, grace));
        Ok(name)
    }

    /// Forgets the pods of which nothing is left.
    pub(super) fn reap(&mut self) {
        self.pods
            .retain(|_, pod| pod.deleting.is_none() || !pod.observed().gone);
    }

    /// Starts and ends the pods that have manifests of their own.
    pub(super) fn run_bare_pods(&mut self) {
        let wanted: Vec<(Key, Value)> = self
            .world
            .values()
            .filter(|manifest| matches!(manifest.body, Body::Pod(_)))
            .map(|manifest| (manifest.key.clone(), manifest.value.clone()))
            .collect();
        let unwanted: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.owner.kind == Kind::POD)
            .filter(|(_, pod)| {
                !wanted
                    .iter()
                    .any(|(key, value)| *key == pod.owner && hash(value) == pod.template)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in unwanted {
            self.stop_pod(&key);
        }
        for (key, value) in wanted {
            // One that changed is made anew once the old one is gone.
            if self
                .pods
                .contains_key(&(key.namespace.clone(), key.name.clone()))
            {
                continue;
            }
            let namespace = key.namespace.clone();
            let template = Template {
                namespace: &namespace,
                template: &value,
                owner: None,
            };
            let result = self.start_pod(&key, &hash(&value), &template);
            self.note(&key, result);
        }
    }

    /// Notes the outcome of making a pod for `owner`.
    pub(super) fn note(&mut self, owner: &Key, result: Result<(), String>) {
        let subject = owner.to_string();
        match result {
            Ok(()) => drop(self.problems.remove(&subject)),
            Err(problem) => self.problem(&subject, &format!("{owner}: {problem}")),
        }
    }

    /// The pod of that name, or the first good one of `deployment/NAME`.
    pub(super) fn find_pod(&self, namespace: &str, name: &str) -> Option<&Running> {
        let wanted = name.split_once('/');
        let Some((kind, owner)) = wanted else {
            return self.pods.get(&(namespace.to_owned(), name.to_owned()));
        };
        let kind = Kind::named(kind)?;
        if kind == Kind::POD {
            return self.pods.get(&(namespace.to_owned(), owner.to_owned()));
        }
        let owner = Key::new(kind, namespace, owner);
        let mut pods: Vec<&Running> = self
            .pods
            .values()
            .filter(|pod| pod.owner == owner)
            .collect();
        pods.sort_by_key(|pod| (pod.deleting.is_some(), !pod.observed().ready(), pod.created));
        pods.first().copied()
    }
}
