//! What the API server last said of the objects whose status is ours to write.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use super::condition;
use crate::ingest::ObjectKey;

/// An object of the API server, as far as its status goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// API group and version by which it was read.
    pub api_version: String,
    /// Its identity: another object of the same name has another one.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Whether it is for one revision of the control plane only.
    pub of_revision: bool,
    /// What we wrote into its status, as a digest; `None` if nothing.
    pub written: Option<u64>,
}

impl Existing {
    /// Reads it from an object.
    pub(crate) fn read(object: &Value) -> Self {
        let text = |path: &str| {
            let value = object.pointer(path).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Self {
            api_version: text("/apiVersion"),
            uid: text("/metadata/uid"),
            generation: object
                .pointer("/metadata/generation")
                .and_then(Value::as_i64),
            of_revision: !text("/metadata/labels/istio.io~1rev").is_empty(),
            written: object.get("status").and_then(condition::digest_of),
        }
    }
}

/// The objects of the mesh's API, and those of any kind that can't be decoded. Cheap to clone: the
/// ingest writes, the status writer reads.
#[derive(Clone, Debug, Default)]
pub struct Observed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<BTreeMap<ObjectKey, Existing>>,
    changed: Notify,
}

impl Observed {
    /// An object is there.
    pub(crate) fn note(&self, key: &ObjectKey, existing: Existing) {
        let mut objects = self.0.objects.lock();
        if objects.get(key) != Some(&existing) {
            objects.insert(key.clone(), existing);
            self.0.changed.notify_one();
        }
    }

    /// An object is gone, or nothing is to be said of it.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.0.objects.lock().remove(key);
    }

    /// All objects now.
    pub(crate) fn list(&self) -> Vec<(ObjectKey, Existing)> {
        let objects = self.0.objects.lock();
        let entries = objects.iter();
        entries
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// Completes when an object was noted since the last call.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}
