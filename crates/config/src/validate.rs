//! Semantics of one object: what spans several of its fields. What one field says by itself was
//! checked when it was decoded.

mod destination_rule;
mod gateway;
mod service_entry;
mod sidecar;
mod virtual_service;

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::decode::FieldError;
use crate::object::Resource;

/// Checks one object by itself. Decoding has called this already, so that a decoded object is
/// free of errors; what is left to see here are the warnings.
///
/// # Errors
/// Everything that makes the object wrong.
pub fn validate(resource: &Resource) -> Result<Vec<FieldError>, Vec<FieldError>> {
    let mut found = Problems::default();
    match resource {
        Resource::VirtualService(object) => virtual_service::check(&object.spec, &mut found),
        Resource::DestinationRule(object) => {
            destination_rule::check(&object.spec, &object.meta.namespace, &mut found);
        }
        Resource::Gateway(object) => gateway::check(&object.spec, &mut found),
        Resource::ServiceEntry(object) => service_entry::check(&object.spec, &mut found),
        Resource::Sidecar(object) => sidecar::check(&object.spec, &mut found),
        // Nothing in these spans several fields that decoding has not seen.
        Resource::WorkloadEntry(_)
        | Resource::PeerAuthentication(_)
        | Resource::AuthorizationPolicy(_) => {}
    }
    match found.errors.is_empty() {
        true => Ok(found.warnings),
        false => Err(found.errors),
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Problems {
    errors: Vec<FieldError>,
    warnings: Vec<FieldError>,
}

impl Problems {
    fn error(&mut self, path: impl Display, problem: impl Display, remedy: impl Display) {
        self.errors.push(field_error(path, problem, remedy));
    }

    fn warn(&mut self, path: impl Display, problem: impl Display, remedy: impl Display) {
        self.warnings.push(field_error(path, problem, remedy));
    }
}

fn field_error(path: impl Display, problem: impl Display, remedy: impl Display) -> FieldError {
    FieldError {
        path: path.to_string(),
        problem: problem.to_string(),
        remedy: remedy.to_string(),
    }
}

/// The indexes of the items whose key was seen before.
fn duplicates<K: Ord>(keys: impl IntoIterator<Item = K>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let indexed = keys.into_iter().enumerate();
    indexed
        .filter_map(|(index, key)| (!seen.insert(key)).then_some(index))
        .collect()
}

#[cfg(test)]
mod tests;
