//! What the webhooks and the pod's own words come to, and what to change.

use std::collections::BTreeSet;

use mesh_config::MeshConfig;
use mesh_injector::{Context, Outcome, Reason, Selection, Settings};

use super::hooks::{Hook, Service};
use super::subject::Subject;
use crate::inject::MeshSettings;

const INJECTION: &str = "istio-injection";
const REVISION: &str = "istio.io/rev";
const INJECT: &str = "sidecar.istio.io/inject";

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The revisions whose webhooks match.
    revisions: BTreeSet<String>,
    injected: bool,
    /// What decided.
    pub(super) reason: String,
    /// What to do for another answer.
    pub(super) remedy: Option<String>,
}

impl Verdict {
    /// Whether a new pod gets a proxy.
    pub(super) fn is_injected(&self) -> bool {
        self.injected
    }

    /// The services that the API server calls for it.
    pub(super) fn services<'a>(&self, hooks: &'a [Hook]) -> BTreeSet<&'a Service> {
        let called = hooks
            .iter()
            .filter(|hook| self.revisions.contains(&hook.revision));
        called.filter_map(|hook| hook.service.as_ref()).collect()
    }
}

/// Judges by the selectors of `hooks`, then by the rules of the injector under `settings`.
pub(super) fn judge(hooks: &[Hook], subject: &Subject, settings: Option<&MeshSettings>) -> Verdict {
    let matching: Vec<(&Hook, String)> = hooks
        .iter()
        .filter_map(|hook| Some((hook, hook.decide(subject).ok()?)))
        .collect();
    let revisions: BTreeSet<String> = matching.iter().map(|(h, _)| h.revision.clone()).collect();
    let Some((hook, why)) = matching.first() else {
        let (reason, remedy) = not_selected(hooks, subject);
        return Verdict {
            revisions,
            injected: false,
            reason,
            remedy: Some(remedy),
        };
    };
    let selected = format!("{why}, which selects revision {}", hook.revision);
    let (injected, reason, remedy) = match refusal(subject, settings) {
        Some((reason, remedy)) => (false, reason, remedy),
        None if revisions.len() > 1 => {
            let names: Vec<&str> = revisions.iter().map(String::as_str).collect();
            let reason = format!(
                "the webhooks of revisions {} match; the first to be called wins",
                names.join(" and ")
            );
            let remedy = "label the namespace for one revision only, and uninstall the other \
                          control plane if it is not needed (meshctl uninstall --revision NAME)";
            (true, reason, Some(remedy.to_owned()))
        }
        None if !hook.trusted => {
            let remedy = "the webhook has no caBundle yet, so that pods are refused until its \
                          control plane runs (meshctl verify-install)";
            (true, selected, Some(remedy.to_owned()))
        }
        None => (true, selected, None),
    };
    Verdict {
        revisions,
        injected,
        reason,
        remedy,
    }
}

/// Why the injector leaves the pod alone, or refuses it, and what to do.
fn refusal(subject: &Subject, settings: Option<&MeshSettings>) -> Option<(String, Option<String>)> {
    let (mesh, injector) = match settings {
        Some(known) => (known.mesh.clone(), known.injector.clone()),
        None => (MeshConfig::default(), Settings::default()),
    };
    let context = Context {
        namespace: &subject.namespace,
        mesh: &mesh,
        settings: &injector,
        selection: Selection::Done,
    };
    match mesh_injector::inject(&subject.pod, &context) {
        Ok(Outcome::Patch(_) | Outcome::Skip(Reason::AlreadyInjected)) => None,
        Ok(Outcome::Skip(reason)) => {
            let remedy = match &reason {
                Reason::PodOptedOut => format!("remove {INJECT}=false from the pod template"),
                Reason::HostNetwork => {
                    "run it without hostNetwork, where capture would change the node's own traffic"
                        .to_owned()
                }
                Reason::NeverSelected { .. } => {
                    format!("label the pod {INJECT}=true, which stands above the selector")
                }
                _ => return Some((reason.to_string(), None)),
            };
            Some((reason.to_string(), Some(remedy)))
        }
        Err(error) => {
            let remedy = "correct it: the API server refuses the pod until then".to_owned();
            Some((error.to_string(), Some(remedy)))
        }
    }
}

/// Why no webhook matches, in the order in which Istio lets labels decide; and what to do.
fn not_selected(hooks: &[Hook], subject: &Subject) -> (String, String) {
    let namespace = &subject.namespace;
    let name = &namespace.name;
    let revisions: BTreeSet<&str> = hooks.iter().map(|hook| hook.revision.as_str()).collect();
    let Some(first) = revisions.first() else {
        let reason = "no webhook of the cluster injects proxies".to_owned();
        return (reason, "install a mesh: meshctl install".to_owned());
    };
    let known: Vec<&str> = revisions.iter().copied().collect();
    let known = known.join(", ");
    let has_default = revisions.contains("default");
    let label = |change: &str| format!("kubectl label namespace {name} {change}");
    let ask = match has_default {
        true => format!("{INJECTION}=enabled"),
        false => format!("{REVISION}={first}"),
    };
    let labels = subject.labels();
    if labels.get(INJECT).is_some_and(|value| value == "false") {
        let reason = format!("the pod has the label {INJECT}=false");
        return (reason, "remove the label from the pod template".to_owned());
    }
    if matches!(
        name.as_str(),
        "kube-system" | "kube-public" | "kube-node-lease"
    ) {
        let reason = format!("namespace {name} belongs to Kubernetes itself");
        return (reason, "run the pod in another namespace".to_owned());
    }
    match namespace.labels.get(INJECTION).map(String::as_str) {
        Some("enabled") => {
            let reason = format!(
                "namespace {name} has the label {INJECTION}=enabled, which is for revision \
                 default; there is {known}"
            );
            return (reason, label(&format!("{INJECTION}- {REVISION}={first}")));
        }
        Some(value) => {
            let reason = format!("namespace {name} has the label {INJECTION}={value}");
            let change = match has_default {
                true => format!("{INJECTION}=enabled --overwrite"),
                false => format!("{INJECTION}- {REVISION}={first}"),
            };
            return (reason, label(&change));
        }
        None => {}
    }
    let wanted = namespace.labels.get(REVISION);
    if let Some(wanted) = wanted.or_else(|| labels.get(REVISION)) {
        let reason =
            format!("the label {REVISION}={wanted} names no control plane; there is {known}");
        let remedy = match namespace.labels.contains_key(REVISION) {
            true => label(&format!("{REVISION}={first} --overwrite")),
            false => format!("label the pod {REVISION}={first}"),
        };
        return (reason, remedy);
    }
    let reason = format!("neither namespace {name} nor the pod asks for a proxy");
    (reason, format!("{}, then restart the pods", label(&ask)))
}
