//! The object directory: every object with its status, one file each, for the control plane.
//!
//! `DIR/<kind in lower case>/<namespace or _>/<name>.yaml`, written by rename, so that a reader
//! sees whole objects only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Key;
use crate::state::{self, StateError};

/// The directory and what is in it.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    written: BTreeMap<Key, Value>,
}

impl Directory {
    /// Opens the directory and empties it: what an earlier run left there is no longer true.
    ///
    /// # Errors
    /// If it cannot be emptied.
    pub(crate) fn open(root: PathBuf) -> Result<Self, StateError> {
        state::empty_dir(&root)?;
        Ok(Self {
            root,
            written: BTreeMap::new(),
        })
    }

    /// Makes the directory hold exactly `objects`; only what changed is written.
    ///
    /// # Errors
    /// The first failure; the rest is still tried, and all of it again at the next call.
    pub(crate) fn sync(&mut self, objects: &BTreeMap<Key, Value>) -> Result<(), StateError> {
        let mut failure = None;
        for (key, value) in objects {
            if self.written.get(key) == Some(value) {
                continue;
            }
            match self.write(key, value) {
                Ok(()) => drop(self.written.insert(key.clone(), value.clone())),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let gone: Vec<Key> = self
            .written
            .keys()
            .filter(|key| !objects.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            match state::remove_file(&self.path(&key)) {
                Ok(()) => drop(self.written.remove(&key)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn write(&self, key: &Key, value: &Value) -> Result<(), StateError> {
        let path = self.path(key);
        if let Some(parent) = path.parent() {
            state::create_dir(parent)?;
        }
        let text = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
        state::write_atomic(&path, text.as_bytes(), 0o600)
    }

    fn path(&self, key: &Key) -> PathBuf {
        let namespace = if key.namespace.is_empty() {
            "_"
        } else {
            &key.namespace
        };
        self.root
            .join(key.kind.info().kind.to_ascii_lowercase())
            .join(namespace)
            .join(format!("{}.yaml", key.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Kind;
    use serde_json::json;

    #[test]
    fn holds_exactly_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("objects");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("stale.yaml"), "x").unwrap();
        let mut directory = Directory::open(root.clone()).unwrap();
        let web = Key::new(Kind::SERVICE, "default", "web");
        let space = Key::new(Kind::NAMESPACE, "ignored", "shop");
        let objects = [(web.clone(), json!({"a": 1})), (space, json!({"b": 2}))].into();
        directory.sync(&objects).unwrap();
        let read = |path: &str| std::fs::read_to_string(root.join(path));
        assert_eq!(read("service/default/web.yaml").unwrap(), "a: 1\n");
        assert_eq!(read("namespace/_/shop.yaml").unwrap(), "b: 2\n");
        assert!(!root.join("stale.yaml").exists());
        directory.sync(&[(web, json!({"a": 2}))].into()).unwrap();
        assert_eq!(read("service/default/web.yaml").unwrap(), "a: 2\n");
        assert!(read("namespace/_/shop.yaml").is_err());
    }
}
