//! The manifests that the platform brings itself: control plane and ingress gateway.

use crate::state::StateDir;

/// Placeholder of the state directory in the manifests.
const STATE_DIR: &str = "${STATE_DIR}";

/// Name and text of each.
pub(crate) fn manifests(state: &StateDir) -> Vec<(&'static str, String)> {
    let root = state.root().display().to_string();
    [
        (
            "built in: istiod.yaml",
            include_str!("../../manifests/local/istiod.yaml"),
        ),
        (
            "built in: gateway.yaml",
            include_str!("../../manifests/local/gateway.yaml"),
        ),
    ]
    .map(|(name, text)| (name, text.replace(STATE_DIR, &root)))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::decode::decode;

    #[test]
    fn all_of_them_are_good() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        for (name, text) in manifests(&state) {
            let decoded = decode(&text, name, "default");
            assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
            assert!(decoded.warnings.is_empty(), "{:?}", decoded.warnings);
            assert!(!text.contains(STATE_DIR));
        }
    }
}
