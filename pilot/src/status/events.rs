//! Events on objects that can't be decoded: `kubectl describe` shows them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Error};

use super::condition::Verdict;
use super::{Existing, MANAGER};
use crate::ingest::ObjectKey;

/// Longest note that the API server takes.
const NOTE_BYTES: usize = 1024;

/// Publishes them, each once.
pub(super) struct Events {
    recorder: Recorder,
    /// What was last published of each object.
    published: BTreeMap<ObjectKey, (String, Verdict)>,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
            published: BTreeMap::new(),
        }
    }

    /// Forgets objects that exist no more.
    pub(super) fn retain(&mut self, exists: impl Fn(&ObjectKey) -> bool) {
        self.published.retain(|key, _| exists(key));
    }

    /// Whether this has not been said of the object yet.
    pub(super) fn is_news(&self, key: &ObjectKey, existing: &Existing, verdict: &Verdict) -> bool {
        let last = self.published.get(key);
        last.is_none_or(|(uid, said)| *uid != existing.uid || said != verdict)
    }

    /// Publishes it.
    ///
    /// # Errors
    /// The API server's.
    pub(super) async fn publish(
        &mut self,
        key: &ObjectKey,
        existing: &Existing,
        verdict: &Verdict,
    ) -> Result<(), Error> {
        let mut note = format!("refused, the last good version stays: {}", verdict.message);
        note.truncate(note.floor_char_boundary(NOTE_BYTES));
        let event = Event {
            type_: EventType::Warning,
            reason: verdict.reason.to_owned(),
            note: Some(note),
            action: "Decode".to_owned(),
            secondary: None,
        };
        let object = ObjectReference {
            api_version: Some(existing.api_version.clone()),
            kind: Some(
                if key.kind == "MeshConfig" {
                    "ConfigMap"
                } else {
                    key.kind
                }
                .to_owned(),
            ),
            namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(key.name.clone()),
            uid: Some(existing.uid.clone()),
            ..ObjectReference::default()
        };
        // Said once, whether it was heard or not: the status says the same.
        let said = (existing.uid.clone(), verdict.clone());
        self.published.insert(key.clone(), said);
        mesh_kubernetes::answered(self.recorder.publish(&event, &object)).await
    }
}
