//! `/validate`: a mesh resource is about to be created or changed. The checks and the words are
//! those of `meshctl validate`.

use std::borrow::Cow;

use mesh_config::decode::{self, Decoded, Source};
use mesh_config::validate::validate;
use serde_json::Value;

use super::Server;
use super::review::{Answer, Review};

impl Server {
    /// Whether the object is valid by itself. Objects of other groups, changes of status and
    /// deletions pass.
    pub(super) fn validate(&self, review: &Review) -> Answer {
        let changes = matches!(review.operation.as_str(), "CREATE" | "UPDATE");
        if !changes || !review.sub_resource.is_empty() || !is_mesh(&review.kind.group) {
            return Answer::allow();
        }
        match check(review) {
            Ok(warnings) => {
                self.count_valid(review);
                Answer::allow().warn(warnings)
            }
            Err(problem) => {
                self.count_invalid(review);
                tracing::info!(problem, "object refused");
                Answer::deny(problem)
            }
        }
    }

    fn count_valid(&self, review: &Review) {
        let kind = &review.resource;
        let labels = [kind.group.as_str(), &kind.version, &kind.resource];
        self.metrics.valid.with(&labels).inc();
    }

    fn count_invalid(&self, review: &Review) {
        let kind = &review.resource;
        let labels = [
            kind.group.as_str(),
            &kind.version,
            &kind.resource,
            "invalid_resource",
        ];
        self.metrics.invalid.with(&labels).inc();
    }
}

fn is_mesh(group: &str) -> bool {
    group == "istio.io" || group.ends_with(".istio.io")
}

/// The warnings, or everything that is wrong.
fn check(review: &Review) -> Result<Vec<String>, String> {
    let object = with_name(&review.object);
    match decode::object(&object, &Source::default()) {
        Ok(Decoded::Mesh(resource)) => {
            // Errors were found by decoding.
            let warnings = validate(&resource).unwrap_or_else(|errors| errors);
            Ok(warnings.iter().map(ToString::to_string).collect())
        }
        Ok(Decoded::Other(other)) => Err(format!(
            "{} {}: kind: {} of group {} is not implemented yet; remove the object: it has no effect",
            other.kind, other.name, other.kind, other.group
        )),
        Err(error) => Err(error.without_source().to_string()),
    }
}

/// The object with a name: of one with `generateName` it is made after the review.
fn with_name(object: &Value) -> Cow<'_, Value> {
    let metadata = &object["metadata"];
    match metadata["generateName"].as_str() {
        Some(prefix) if metadata["name"].is_null() => {
            let mut named = object.clone();
            named["metadata"]["name"] = prefix.into();
            Cow::Owned(named)
        }
        _ => Cow::Borrowed(object),
    }
}
