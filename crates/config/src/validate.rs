//! Semantics of one object: what spans several of its fields.

use crate::decode::FieldError;
use crate::object::Resource;

/// Checks one object by itself. Decoding has called this already; what is left to see here are warnings.
///
/// # Errors
/// Everything that makes the object wrong.
pub fn validate(resource: &Resource) -> Result<Vec<FieldError>, Vec<FieldError>> {
    let _ = resource;
    Ok(Vec::new())
}
