//! YAML for kubectl, which takes more words for something else than text than this program does
//! ([`mesh_config::yaml`]).

use serde_json::Value;

/// A document, with the newline at its end. Text that would be read as something else is quoted.
pub(crate) fn print(value: &Value) -> String {
    mesh_helm::print_yaml(value) + "\n"
}

#[cfg(test)]
mod tests;
