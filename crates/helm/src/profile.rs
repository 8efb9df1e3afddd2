//! Profiles: named sets of values for a whole installation (manifests/profiles).

use rust_embed::RustEmbed;
use serde_json::Value;

use crate::ChartError;

/// The profiles there are.
pub const PROFILES: &[&str] = &["default", "demo", "empty", "minimal"];

#[derive(RustEmbed)]
#[folder = "../../manifests/profiles"]
struct Files;

/// The values of a profile: those of the meshd chart at the root, of the base chart under `base`,
/// and of each gateway under `gateways.NAME`, with `enabled` beside them.
///
/// # Errors
/// [`ChartError::Unknown`] for a name that is not in [`PROFILES`].
pub fn profile(name: &str) -> Result<Value, ChartError> {
    let file = Files::get(&format!("{name}.yaml"))
        .filter(|_| PROFILES.contains(&name))
        .ok_or_else(|| ChartError::Unknown {
            kind: "profile",
            name: name.to_owned(),
            known: PROFILES.to_vec(),
        })?;
    serde_yaml::from_slice(&file.data).map_err(|error| ChartError::Malformed {
        file: format!("profiles/{name}.yaml"),
        reason: error.to_string(),
    })
}
