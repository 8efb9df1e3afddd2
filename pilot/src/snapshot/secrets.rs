//! The secrets that gateways are served.

use std::sync::Arc;

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::Secret;

use super::Inputs;
use crate::translate::is_broken_secret;

/// Secrets by namespace and name.
pub type Secrets = HashMap<(String, String), Arc<Secret>>;

/// The secrets to serve, and those that are broken: in place of a broken one that was `good` before,
/// its last good version is served.
pub(super) fn index(inputs: &Inputs, good: &Secrets) -> (Secrets, Secrets) {
    let (mut served, mut broken) = (Secrets::new(), Secrets::new());
    for secret in &inputs.secrets {
        let meta = &secret.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            continue;
        };
        let key = (namespace.clone(), name.clone());
        let before = good.get(&key).filter(|before| !Arc::ptr_eq(before, secret));
        match before {
            // Only what has changed is looked at.
            Some(before) if is_broken_secret(secret) && !is_broken_secret(before) => {
                broken.insert(key.clone(), secret.clone());
                served.insert(key, before.clone());
            }
            _ => {
                served.insert(key, secret.clone());
            }
        }
    }
    (served, broken)
}
