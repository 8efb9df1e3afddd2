//! The two kinds of webhook configurations, and the patch that one needs.

use std::fmt::Debug;

use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

/// Annotation of a configuration whose author chose the failure policy.
const FAILURE_POLICY: &str = "meshd/failure-policy";

/// A webhook, as far as it is kept current.
#[derive(Debug)]
pub(super) struct Hook<'a> {
    pub(super) name: &'a str,
    pub(super) client: &'a WebhookClientConfig,
    pub(super) failure_policy: Option<&'a str>,
    /// Whether the failure policy is ours to change.
    pub(super) arms: bool,
}

impl Hook<'_> {
    /// Whether it is ours to make it fail closed.
    pub(super) fn fails_open(&self) -> bool {
        self.arms && self.failure_policy != Some("Fail")
    }
}

/// A kind of webhook configurations.
pub(super) trait Configuration:
    Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    fn hooks(&self) -> Vec<Hook<'_>>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn hooks(&self) -> Vec<Hook<'_>> {
        let hooks = self.webhooks.iter().flatten().map(|hook| Hook {
            name: &hook.name,
            client: &hook.client_config,
            failure_policy: hook.failure_policy.as_deref(),
            // An injection webhook's policy is the chart's business.
            arms: false,
        });
        hooks.collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn hooks(&self) -> Vec<Hook<'_>> {
        let chosen = self.annotations().get(FAILURE_POLICY);
        let arms = chosen.is_none_or(|word| word != "keep");
        let hooks = self.webhooks.iter().flatten().map(|hook| Hook {
            name: &hook.name,
            client: &hook.client_config,
            failure_policy: hook.failure_policy.as_deref(),
            arms,
        });
        hooks.collect()
    }
}

/// What our webhooks are to be.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Root certificates in PEM; while it is empty nothing is changed.
    pub(super) bundle: &'a str,
    /// The control plane's service...
    pub(super) service: &'a str,
    /// ...and its namespace.
    pub(super) namespace: &'a str,
    /// Whether objects may be refused while validation doesn't answer.
    pub(super) fail_closed: bool,
}

impl Wanted<'_> {
    /// What has to change; empty if nothing. Each change is bound to the name of its webhook, for
    /// the list may be another when the patch arrives.
    pub(super) fn patch(&self, hooks: &[Hook<'_>]) -> Patch {
        if self.bundle.is_empty() {
            return Patch::default();
        }
        let ours = hooks.iter().enumerate().filter(|(_, hook)| self.owns(hook));
        Patch(
            ours.flat_map(|(index, hook)| self.changes(index, hook))
                .collect(),
        )
    }

    fn owns(&self, hook: &Hook<'_>) -> bool {
        let service = hook.client.service.as_ref();
        service.is_none_or(|s| s.name == self.service && s.namespace == self.namespace)
    }

    fn changes(&self, index: usize, hook: &Hook<'_>) -> Vec<PatchOperation> {
        let path = |field: &str| format!("/webhooks/{index}/{field}");
        let mut changes = Vec::new();
        let bundle = k8s_openapi::ByteString(self.bundle.as_bytes().to_vec());
        if hook.client.ca_bundle.as_ref() != Some(&bundle) {
            changes.push(add(&path("clientConfig/caBundle"), json!(bundle)));
        }
        if self.fail_closed && hook.fails_open() {
            changes.push(add(&path("failurePolicy"), json!("Fail")));
        }
        if !changes.is_empty() {
            let same = TestOperation {
                path: pointer(&path("name")),
                value: json!(hook.name),
            };
            changes.insert(0, PatchOperation::Test(same));
        }
        changes
    }
}

fn add(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    })
}

fn pointer(path: &str) -> json_patch::jsonptr::PointerBuf {
    path.parse()
        .expect("a path of plain words and numbers is a JSON pointer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(service: &str, bundle: &str, policy: &str) -> ValidatingWebhookConfiguration {
        let hook = |name: &str, service: &str| {
            json!({
                "name": name,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": policy,
                "clientConfig": {
                    "service": {"name": service, "namespace": "mesh", "path": "/validate"},
                    "caBundle": k8s_openapi::ByteString(bundle.as_bytes().to_vec()),
                },
            })
        };
        let hooks = [
            hook("other.example.com", "other"),
            hook("a.istio.io", service),
        ];
        serde_json::from_value(json!({"metadata": {"name": "c"}, "webhooks": hooks})).unwrap()
    }

    fn patch(configuration: &impl Configuration, bundle: &str, fail_closed: bool) -> Value {
        let wanted = Wanted {
            bundle,
            service: "istiod",
            namespace: "mesh",
            fail_closed,
        };
        json!(wanted.patch(&configuration.hooks()))
    }

    #[test]
    fn only_what_differs_in_our_own_webhooks_is_changed() {
        let found = patch(&configuration("istiod", "old", "Ignore"), "new", true);
        let expected = json!([
            {"op": "test", "path": "/webhooks/1/name", "value": "a.istio.io"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "bmV3"},
            {"op": "add", "path": "/webhooks/1/failurePolicy", "value": "Fail"},
        ]);
        assert_eq!(found, expected);
        let nothing = json!([]);
        assert_eq!(
            patch(&configuration("istiod", "new", "Fail"), "new", true),
            nothing
        );
        assert_eq!(
            patch(&configuration("istiod", "new", "Ignore"), "new", false),
            nothing
        );
        assert_eq!(
            patch(&configuration("else", "old", "Ignore"), "new", true),
            nothing
        );
        assert_eq!(
            patch(&configuration("istiod", "old", "Ignore"), "", true),
            nothing
        );
        let mut kept = configuration("istiod", "new", "Ignore");
        let annotations = kept.annotations_mut();
        annotations.insert(FAILURE_POLICY.to_owned(), "keep".to_owned());
        assert_eq!(patch(&kept, "new", true), nothing);
    }
}
