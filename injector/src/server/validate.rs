//! `/validate`: a mesh resource is about to be created or changed. The checks and the words are
//! those of `meshctl validate`.

use std::borrow::Cow;

use mesh_config::decode::{self, Decoded, Source};
use mesh_config::object::{Kind, PlannedKind};
use mesh_config::validate::validate;
use serde_json::Value;

use super::Server;
use super::review::{Answer, GroupVersionResource, Review};

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
        self.metrics.valid.with(&labels(&review.resource)).inc();
    }

    fn count_invalid(&self, review: &Review) {
        let [group, version, resource] = labels(&review.resource);
        let labels = [group, version, resource, "invalid_resource"];
        self.metrics.invalid.with(&labels).inc();
    }
}

/// Group, version and resource of a kind of the mesh's API. Whoever reaches the port can name any:
/// what is not served is counted as `unknown`, so that the series stay as few as the kinds.
fn labels(resource: &GroupVersionResource) -> [&'static str; 3] {
    let named = |group: &str, plural: &str| group == resource.group && plural == resource.resource;
    let ours = Kind::ALL.into_iter();
    let ours = ours.map(|kind| (kind.group(), kind.versions(), kind.plural()));
    let planned = PlannedKind::ALL.into_iter();
    let planned = planned.map(|kind| (kind.group, kind.versions, kind.plural));
    let known = ours.chain(planned).find_map(|(group, versions, plural)| {
        let version = versions.iter().find(|known| **known == resource.version)?;
        named(group, plural).then_some([group, *version, plural])
    });
    known.unwrap_or(["unknown"; 3])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_by_kinds_that_are_known() {
        let labels = |group: &str, version: &str, resource: &str| {
            labels(&GroupVersionResource {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: resource.to_owned(),
            })
        };
        let networking = "networking.istio.io";
        for known in [
            [networking, "v1", "serviceentries"],
            [networking, "v1alpha3", "envoyfilters"],
            ["security.istio.io", "v1beta1", "authorizationpolicies"],
        ] {
            assert_eq!(labels(known[0], known[1], known[2]), known);
        }
        for unknown in [
            [networking, "v7", "serviceentries"],
            [networking, "v1", "authorizationpolicies"],
            ["any.istio.io", "v1", "gateways"],
            ["", "", ""],
        ] {
            let found = labels(unknown[0], unknown[1], unknown[2]);
            assert_eq!(found, ["unknown"; 3], "{unknown:?}");
        }
    }
}
