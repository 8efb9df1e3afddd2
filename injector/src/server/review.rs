//! AdmissionReview v1: what the API server asks, and what it is told.
//!
//! Source: Kubernetes API `admission.k8s.io/v1`. The object under review stays JSON as it came,
//! since a patch refers to it as the API server has it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
/// The API server cuts longer warnings, and drops them past 4 KiB in all.
const WARNING_LIMIT: usize = 250;
const WARNINGS_LIMIT: usize = 16;

/// A question of the API server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    /// Id of the question, which the answer repeats.
    pub(super) uid: String,
    /// What the object is, as the webhook's rules ask for it.
    pub(super) kind: GroupKind,
    /// Which resource is changed.
    #[serde(default)]
    pub(super) resource: GroupVersionResource,
    /// Part of the object that is changed, for example `status`; empty for the object.
    #[serde(default)]
    pub(super) sub_resource: String,
    /// The object's namespace; empty for objects of the cluster.
    #[serde(default)]
    pub(super) namespace: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub(super) operation: String,
    /// The new object; null when it is deleted.
    #[serde(default)]
    pub(super) object: Value,
}

/// A kind with its group (empty for the core group).
#[derive(Debug, Deserialize)]
pub(super) struct GroupKind {
    #[serde(default)]
    pub(super) group: String,
    pub(super) kind: String,
}

/// A resource with its group (empty for the core group) and version.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GroupVersionResource {
    #[serde(default)]
    pub(super) group: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) resource: String,
}

impl Review {
    /// # Errors
    /// What is wrong with the body, and what to send.
    pub(super) fn read(body: &[u8]) -> Result<Review, String> {
        let mut value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not an AdmissionReview in JSON: {error}"))?;
        let (version, kind) = (&value["apiVersion"], &value["kind"]);
        if kind != "AdmissionReview" {
            return Err(format!(
                "the body is not an AdmissionReview (its kind is {kind})"
            ));
        }
        if version != API_VERSION {
            return Err(format!(
                "AdmissionReview of version {version} is not taken; \
                 set admissionReviewVersions: [v1] in the webhook's configuration"
            ));
        }
        let request = value["request"].take();
        if request.is_null() {
            return Err("the AdmissionReview has no request".to_owned());
        }
        serde_json::from_value(request)
            .map_err(|error| format!("the AdmissionReview's request is not one: {error}"))
    }
}

/// What the API server is told.
#[derive(Debug, Default)]
pub(super) struct Answer {
    refusal: Option<Refusal>,
    patch: Option<json_patch::Patch>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Answer {
    /// The object is admitted as it is.
    pub(super) fn allow() -> Self {
        Answer::default()
    }

    /// The object is admitted with a change.
    pub(super) fn patch(patch: json_patch::Patch) -> Self {
        Answer {
            patch: Some(patch),
            ..Answer::default()
        }
    }

    /// The object is not admitted, since it is wrong: `kubectl` prints the message.
    pub(super) fn deny(message: String) -> Self {
        Answer::refuse(400, "BadRequest", message)
    }

    /// The object is not admitted now; it may be soon.
    pub(super) fn unavailable(message: String) -> Self {
        Answer::refuse(503, "ServiceUnavailable", message)
    }

    fn refuse(code: u16, reason: &'static str, message: String) -> Self {
        let refusal = Refusal {
            code,
            reason,
            message,
        };
        Answer {
            refusal: Some(refusal),
            ..Answer::default()
        }
    }

    /// What the author of the object is told though it is admitted.
    pub(super) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// The AdmissionReview to send.
    pub(super) fn to_json(&self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.refusal.is_none()});
        if let Some(refusal) = &self.refusal {
            response["status"] = json!({
                "status": "Failure",
                "code": refusal.code,
                "reason": refusal.reason,
                "message": refusal.message,
            });
        }
        if let Some(patch) = &self.patch {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64_STANDARD.encode(json!(patch).to_string()).into();
        }
        if !self.warnings.is_empty() {
            let warnings = self.warnings.iter().take(WARNINGS_LIMIT);
            response["warnings"] = warnings.map(|text| fit(text)).collect();
        }
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
    }
}

/// One line that the API server does not cut.
fn fit(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(WARNING_LIMIT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
