//! The webhooks that inject proxies, and how their selectors match a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::subject::Subject;

/// The end of the names of Istio's webhooks that inject, which are ours, too.
const SUFFIX: &str = "sidecar-injector.istio.io";

/// A webhook that injects.
#[derive(Debug)]
pub(super) struct Hook {
    /// The MutatingWebhookConfiguration.
    configuration: String,
    name: String,
    pub(super) revision: String,
    /// `None` if it is called by URL.
    pub(super) service: Option<Service>,
    /// Whether the API server knows how to verify it.
    pub(super) trusted: bool,
    namespace_selector: LabelSelector,
    object_selector: LabelSelector,
}

/// A service in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Hook {
    pub(super) fn of(configuration: &MutatingWebhookConfiguration) -> Vec<Hook> {
        let revision = configuration.labels().get("istio.io/rev").cloned();
        let revision = revision.unwrap_or_else(|| "default".to_owned());
        let hooks = configuration.webhooks.iter().flatten();
        let injecting = hooks.filter(|hook| hook.name.ends_with(SUFFIX));
        let read = |hook: &MutatingWebhook| Hook {
            configuration: configuration.name_any(),
            name: hook.name.clone(),
            revision: revision.clone(),
            service: hook.client_config.service.as_ref().map(|service| Service {
                namespace: service.namespace.clone(),
                name: service.name.clone(),
            }),
            trusted: hook
                .client_config
                .ca_bundle
                .as_ref()
                .is_some_and(|b| !b.0.is_empty()),
            namespace_selector: hook.namespace_selector.clone().unwrap_or_default(),
            object_selector: hook.object_selector.clone().unwrap_or_default(),
        };
        injecting.map(read).collect()
    }

    /// `CONFIGURATION/FIRST-PART-OF-THE-NAME`.
    pub(super) fn short_name(&self) -> String {
        let prefix = self.name.trim_end_matches(SUFFIX).trim_end_matches('.');
        match prefix {
            "" => self.configuration.clone(),
            prefix => format!("{}/{prefix}", self.configuration),
        }
    }

    /// Which labels make it match, or what keeps it from that.
    pub(super) fn decide(&self, subject: &Subject) -> Result<String, String> {
        let namespace = format!("namespace {}", subject.namespace.name);
        let labels = &subject.namespace.labels;
        let mut reasons = decide(&self.namespace_selector, labels, &namespace)?;
        reasons.extend(decide(&self.object_selector, &subject.labels(), "the pod")?);
        Ok(match reasons.is_empty() {
            true => "neither namespace nor pod says otherwise".to_owned(),
            false => reasons.join(", "),
        })
    }

    pub(super) fn to_json(&self, subject: &Subject) -> Value {
        let decision = self.decide(subject);
        json!({
            "configuration": self.configuration,
            "webhook": self.name,
            "revision": self.revision,
            "matches": decision.is_ok(),
            "why": decision.unwrap_or_else(|why| why),
        })
    }
}

/// The labels that a selector asked for, or the first requirement that fails.
fn decide(
    selector: &LabelSelector,
    labels: &BTreeMap<String, String>,
    who: &str,
) -> Result<Vec<String>, String> {
    let equal = selector.match_labels.iter().flatten();
    let equal = equal.map(|(key, value)| LabelSelectorRequirement {
        key: key.clone(),
        operator: "In".to_owned(),
        values: Some(vec![value.clone()]),
    });
    let listed = selector.match_expressions.iter().flatten().cloned();
    let mut reasons = Vec::new();
    for requirement in equal.chain(listed) {
        reasons.extend(requirement_holds(&requirement, labels, who)?);
    }
    Ok(reasons)
}

/// What the requirement asked for; nothing if it only asked for an absence.
fn requirement_holds(
    requirement: &LabelSelectorRequirement,
    labels: &BTreeMap<String, String>,
    who: &str,
) -> Result<Option<String>, String> {
    let key = &requirement.key;
    let values = requirement.values.as_deref().unwrap_or_default();
    let value = labels.get(key);
    let listed = value.is_some_and(|value| values.contains(value));
    let has = |value: &String| format!("{who} has the label {key}={value}");
    match (requirement.operator.as_str(), value) {
        ("In", Some(value)) if listed => Ok(Some(has(value))),
        ("In", Some(value)) => Err(format!("{}, not {}", has(value), values.join(" or "))),
        ("In", None) => Err(format!("{who} has no label {key}={}", values.join(" or "))),
        ("NotIn", Some(value)) if listed => Err(has(value)),
        ("Exists", Some(value)) => Ok(Some(has(value))),
        ("Exists", None) => Err(format!("{who} has no label {key}")),
        ("DoesNotExist", Some(value)) => Err(has(value)),
        _ => Ok(None),
    }
}
