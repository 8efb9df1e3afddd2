//! Tells the users of an API server what became of their objects.
//!
//! Every mesh resource gets Istio's condition `Reconciled`: `True` if its present generation is in
//! force, with the parts that had to be ignored as message; `False` if it was refused, with
//! everything that is wrong with it. `kubectl wait --for=condition=Reconciled` waits for it. An
//! object of any kind that can't be decoded also gets an Event.
//!
//! One control plane writes of each object: the [leader](Leadership). It writes only what differs from what stands there,
//! so that what its own writing brings back through the watch ends the matter.

mod condition;
mod events;
mod leadership;
mod observed;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, Error};
use mesh_config::Kind;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::condition::Verdict;
use self::events::Events;
pub use self::leadership::Leadership;
pub use self::observed::{Existing, Observed};
use crate::ingest::ObjectKey;
use crate::push::pipeline::Latest;
use crate::store::ProblemReader;

/// How long changes are collected: what an edit breaks is often mended by the next.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two writes: twenty a second are no load, even when a whole mesh is new.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// How soon what couldn't be written is tried again.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// By whom the fields are managed.
const MANAGER: &str = "meshd";

/// Writes conditions and Events while it leads.
pub struct StatusWriter {
    client: Client,
    observed: Observed,
    leadership: Leadership,
    events: Events,
    /// What was last written to an object: the digest of what we wanted, and of what the server made
    /// of it. A server whose definitions drop some field would have it written for ever.
    written: BTreeMap<ObjectKey, (u64, Option<u64>)>,
}

impl StatusWriter {
    /// `observed`: of the [source](crate::ingest::KubernetesSource::observed) of the same cluster.
    /// `leadership`: from Leases. The client's account needs `get` on the mesh's kinds, `patch` on their `status`, and `create` and `patch` on
    /// `events.k8s.io/events`.
    pub fn new(client: Client, observed: Observed, leadership: Leadership) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            observed,
            leadership,
            written: BTreeMap::new(),
        }
    }

    /// Writes until discovery ends.
    pub(crate) async fn run(mut self, mut latest: Latest, problems: ProblemReader) {
        loop {
            while !self.leadership.any() {
                if !self.leadership.changed().await {
                    return;
                }
            }
            let retry = match self.round(&latest, &problems).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(
                        error = mesh_kubernetes::explain(&error),
                        "the status of objects can't be written"
                    );
                    Some(Instant::now() + RETRY_TIME)
                }
            };
            tokio::select! {
                changed = latest.changed() => if changed.is_err() { return },
                () = self.observed.changed() => {}
                true = self.leadership.changed() => {}
                () = problems.changed() => {}
                Some(()) = until(retry) => {}
            }
            tokio::time::sleep(QUIET_TIME).await;
        }
    }

    /// Brings everything up to date.
    ///
    /// # Errors
    /// The first error that is not about one object.
    async fn round(&mut self, latest: &Latest, problems: &ProblemReader) -> Result<(), Error> {
        let Some(published) = latest.borrow().clone() else {
            return Ok(());
        };
        let found = Found::new(problems, published.snapshot.problems());
        let mut pace = interval(WRITE_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let objects = self.observed.list();
        let exists = |key: &ObjectKey| {
            objects
                .binary_search_by(|(known, _)| known.cmp(key))
                .is_ok()
        };
        self.written.retain(|key, _| exists(key));
        self.events.retain(exists);
        for (key, existing) in objects {
            if !self.leadership.covers(&existing) {
                continue;
            }
            let refused = found.of(&found.refused, &key);
            let verdict = Verdict::new(refused, found.of(&found.problems, &key));
            if !refused.is_empty() && self.events.is_news(&key, &existing, &verdict) {
                pace.tick().await;
                let published = self.events.publish(&key, &existing, &verdict).await;
                of_one_object(&key, published)?;
            }
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == key.kind) else {
                continue;
            };
            if self.is_written(&key, &existing, &verdict) {
                continue;
            }
            pace.tick().await;
            if !self.leadership.covers(&existing) {
                continue;
            }
            let written = self.write(kind, &key, &existing, &verdict).await;
            of_one_object(&key, written)?;
        }
        Ok(())
    }

    fn is_written(&self, key: &ObjectKey, existing: &Existing, verdict: &Verdict) -> bool {
        let wanted = verdict.digest(existing.generation);
        let as_kept = self.written.get(key) == Some(&(wanted, existing.written));
        existing.written == Some(wanted) || as_kept
    }

    async fn write(
        &mut self,
        kind: Kind,
        key: &ObjectKey,
        existing: &Existing,
        verdict: &Verdict,
    ) -> Result<(), Error> {
        let version = existing.api_version.rsplit('/').next().unwrap_or_default();
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), version, kind.as_str()));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let wanted = verdict.digest(existing.generation);
        match mesh_kubernetes::answered(patch(&api, key, existing, verdict)).await {
            Ok(None) => Ok(()),
            Ok(Some(kept)) => {
                self.written.insert(key.clone(), (wanted, kept));
                Ok(())
            }
            // It has changed since, or is gone: the watch tells soon.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                // If it is this object's fault, it is not tried again before something changes.
                self.written.insert(key.clone(), (wanted, existing.written));
                Err(error)
            }
        }
    }
}

/// What the API server has against one object does not keep the others from being written.
fn of_one_object(key: &ObjectKey, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error @ Error::Api(_)) => {
            let reason = mesh_kubernetes::explain(&error);
            tracing::warn!(%key, reason, "what became of an object can't be written to it");
            Ok(())
        }
        result => result,
    }
}

/// Writes a status, and returns the digest of what the server made of it; `None` if the object is
/// no longer the one that was judged: the watch tells soon.
async fn patch(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    existing: &Existing,
    verdict: &Verdict,
) -> Result<Option<Option<u64>>, Error> {
    let current = api.get(&key.name).await?;
    let current = serde_json::to_value(&current).map_err(Error::SerdeError)?;
    let now = Existing::read(&current);
    if (&now.uid, now.generation) != (&existing.uid, existing.generation) {
        return Ok(None);
    }
    let patch = verdict.patch(&current, Timestamp::now());
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let kept = api
        .patch_status(&key.name, &params, &Patch::Merge(patch))
        .await?;
    Ok(Some(kept.data.get("status").and_then(condition::digest_of)))
}

/// What is wrong, by object.
struct Found {
    /// What keeps objects from being in force.
    refused: BTreeMap<String, Vec<String>>,
    /// What had to be ignored of them.
    problems: BTreeMap<String, Vec<String>>,
}

impl Found {
    fn new(reader: &ProblemReader, problems: &[crate::snapshot::Problem]) -> Self {
        let mut found = Self {
            refused: BTreeMap::new(),
            problems: BTreeMap::new(),
        };
        for problem in reader.list() {
            let text = text(&problem.field, &problem.problem, &problem.remedy);
            found.refused.entry(problem.object).or_default().push(text);
        }
        for problem in problems {
            let key = ObjectKey::new(problem.kind, &*problem.namespace, &*problem.name);
            let text = text(&problem.field, &problem.message, &problem.remedy);
            found
                .problems
                .entry(key.to_string())
                .or_default()
                .push(text);
        }
        found
    }

    fn of<'a>(&self, all: &'a BTreeMap<String, Vec<String>>, key: &ObjectKey) -> &'a [String] {
        all.get(&key.to_string()).map_or(&[], Vec::as_slice)
    }
}

fn text(field: &str, problem: &str, remedy: &str) -> String {
    let field = if field.is_empty() {
        String::new()
    } else {
        format!("{field}: ")
    };
    let remedy = if remedy.is_empty() {
        String::new()
    } else {
        format!(" ({remedy})")
    };
    format!("{field}{problem}{remedy}")
}

async fn until(time: Option<Instant>) -> Option<()> {
    sleep_until(time?).await;
    Some(())
}
