//! Whether a pod is injected: the selectors of Istio's webhook configuration, then the checks of
//! its injector.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use crate::annotations::STATUS;
use crate::{Context, PROXY_CONTAINER, pod};

/// Label of namespaces: `enabled` or `disabled`.
const INJECTION: &str = "istio-injection";
/// Label of namespaces and pods: which revision injects.
const REVISION: &str = "istio.io/rev";
/// Label (or, older, annotation) of pods: `true` or `false`.
pub(crate) const INJECT: &str = "sidecar.istio.io/inject";
/// Namespaces of Kubernetes itself, never injected.
const SYSTEM_NAMESPACES: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

/// Who selects pods by the labels `istio-injection`, `istio.io/rev` and `sidecar.istio.io/inject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Selection {
    /// The injector itself: nobody has looked at the labels yet.
    #[default]
    ByLabels,
    /// Somebody before: the API server, by the selectors of the webhook's configuration, or a
    /// person who asks for a proxy. What remains is what the pod itself says.
    Done,
}

/// Why a pod stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The pod's label or annotation `sidecar.istio.io/inject` is `false`.
    PodOptedOut,
    /// The namespace has `istio-injection=disabled` (or another value than `enabled`).
    NamespaceOptedOut {
        /// The namespace.
        namespace: String,
    },
    /// Neither namespace nor pod asks for it.
    NotSelected {
        /// The namespace.
        namespace: String,
    },
    /// The label `istio.io/rev` asks for another control plane.
    OtherRevision {
        /// The revision asked for.
        wanted: String,
        /// Our revision.
        ours: String,
    },
    /// `istio-injection=enabled` is for the default revision, which we are not.
    NotDefaultRevision {
        /// Our revision.
        ours: String,
    },
    /// The pod's labels match one of the injector's `neverInjectSelector`s.
    NeverSelected {
        /// The selector.
        selector: String,
    },
    /// The injector's policy `autoInject` is `disabled`, and the pod doesn't ask for a proxy.
    PolicyDisabled,
    /// The pod uses the host's network: capture would change the host's.
    HostNetwork,
    /// The namespace belongs to Kubernetes itself.
    SystemNamespace {
        /// The namespace.
        namespace: String,
    },
    /// The pod has its proxy: the container, and the annotation that says it is ours.
    AlreadyInjected,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::PodOptedOut => write!(f, "the pod says {INJECT}=false"),
            Reason::NamespaceOptedOut { namespace } => write!(
                f,
                "namespace {namespace} has the label {INJECTION} with a value other than enabled"
            ),
            Reason::NotSelected { namespace } => write!(
                f,
                "neither namespace {namespace} nor the pod asks for a proxy \
                 (label the namespace {INJECTION}=enabled, or the pod {INJECT}=true)"
            ),
            Reason::OtherRevision { wanted, ours } => {
                write!(
                    f,
                    "the label {REVISION} asks for revision {wanted}, and this is {ours}"
                )
            }
            Reason::NotDefaultRevision { ours } => write!(
                f,
                "{INJECTION}=enabled is for the default revision, and this is {ours} \
                 (label the namespace {REVISION}={ours} instead)"
            ),
            Reason::NeverSelected { selector } => write!(
                f,
                "the pod matches the neverInjectSelector {selector:?} of the injector's settings"
            ),
            Reason::PolicyDisabled => write!(
                f,
                "the injector's settings say autoInject=disabled, and the pod does not ask for a \
                 proxy (label it {INJECT}=true)"
            ),
            Reason::HostNetwork => f.write_str("the pod uses the host's network"),
            Reason::SystemNamespace { namespace } => {
                write!(f, "namespace {namespace} belongs to Kubernetes itself")
            }
            Reason::AlreadyInjected => f.write_str("the pod has its proxy already"),
        }
    }
}

/// Why `pod` is not injected; `None` if it is.
pub(crate) fn skip(pod: &Value, context: &Context<'_>) -> Option<Reason> {
    let labels = pod::text_map(pod, "labels");
    let annotations = pod::text_map(pod, "annotations");
    // A label beats the annotation that came before it; values other than true and false say nothing.
    let asked = match labels
        .get(INJECT)
        .or_else(|| annotations.get(INJECT))
        .map(String::as_str)
    {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    if asked == Some(false) {
        return Some(Reason::PodOptedOut);
    }
    if context.selection == Selection::ByLabels
        && let Some(reason) = not_selected(&labels, context)
    {
        return Some(reason);
    }
    if asked.is_none()
        && let Some(reason) = policy(&labels, context)
    {
        return Some(reason);
    }
    if pod["spec"]["hostNetwork"].as_bool() == Some(true) {
        return Some(Reason::HostNetwork);
    }
    if is_system(&context.namespace.name) {
        return Some(Reason::SystemNamespace {
            namespace: context.namespace.name.clone(),
        });
    }
    has_proxy(pod, &annotations).then_some(Reason::AlreadyInjected)
}

/// The annotation alone says nothing: anybody can write it, or copy it with a manifest, and a pod
/// without the container would run outside of all policies.
fn has_proxy(pod: &Value, annotations: &BTreeMap<String, String>) -> bool {
    let mut containers = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod::containers(pod, list));
    annotations.contains_key(STATUS)
        && containers.any(|container| pod::name_of(container) == PROXY_CONTAINER)
}

/// The injector's own policy, for pods that say nothing: the selectors against injection come
/// first, those for it stand above the general policy.
fn policy(labels: &BTreeMap<String, String>, context: &Context<'_>) -> Option<Reason> {
    let settings = context.settings;
    let matches = |selector: &&Selector| selector.matches(labels);
    if let Some(selector) = settings.never_inject.iter().find(matches) {
        return Some(Reason::NeverSelected {
            selector: selector.to_string(),
        });
    }
    let always = settings.always_inject.iter().any(|s| s.matches(labels));
    (!always && !settings.auto_inject).then_some(Reason::PolicyDisabled)
}

fn is_system(namespace: &str) -> bool {
    SYSTEM_NAMESPACES.contains(&namespace)
}

/// The namespace's labels come first, the older of the two above the revision's; a pod's labels
/// count only where the namespace has none.
fn not_selected(labels: &BTreeMap<String, String>, context: &Context<'_>) -> Option<Reason> {
    let label_asks = labels.get(INJECT).map(String::as_str) == Some("true");
    let ours = match context.settings.revision.as_str() {
        "" => "default",
        revision => revision,
    };
    let is_default = ours == "default";
    let namespace = context.namespace;
    let other = |wanted: &String| {
        (wanted != ours).then(|| Reason::OtherRevision {
            wanted: wanted.clone(),
            ours: ours.to_owned(),
        })
    };
    let not_default = || {
        (!is_default).then(|| Reason::NotDefaultRevision {
            ours: ours.to_owned(),
        })
    };
    match namespace.labels.get(INJECTION).map(String::as_str) {
        Some("enabled") => return not_default(),
        Some(_) => {
            return Some(Reason::NamespaceOptedOut {
                namespace: namespace.name.clone(),
            });
        }
        None => {}
    }
    if let Some(wanted) = namespace.labels.get(REVISION).or(labels.get(REVISION)) {
        return other(wanted);
    }
    let by_default = context.settings.inject_by_default && !is_system(&namespace.name);
    if label_asks || by_default {
        return not_default();
    }
    Some(Reason::NotSelected {
        namespace: namespace.name.clone(),
    })
}
