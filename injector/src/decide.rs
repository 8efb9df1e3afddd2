//! Whether a pod is injected: the selectors of Istio's webhook configuration, then the checks of
//! its injector.

use std::fmt;

use serde_json::Value;

use crate::annotations::STATUS;
use crate::{Context, pod};

/// Label of namespaces: `enabled` or `disabled`.
const INJECTION: &str = "istio-injection";
/// Label of namespaces and pods: which revision injects.
const REVISION: &str = "istio.io/rev";
/// Label (or, older, annotation) of pods: `true` or `false`.
const INJECT: &str = "sidecar.istio.io/inject";
/// Namespaces of Kubernetes itself, never injected.
const SYSTEM_NAMESPACES: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

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
    /// The pod uses the host's network: capture would change the host's.
    HostNetwork,
    /// The namespace belongs to Kubernetes itself.
    SystemNamespace {
        /// The namespace.
        namespace: String,
    },
    /// The pod has its proxy.
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
    let label_asks = labels.get(INJECT).map(String::as_str) == Some("true");
    if asked == Some(false) {
        return Some(Reason::PodOptedOut);
    }
    if let Some(reason) = not_selected(labels.get(REVISION), label_asks, context) {
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
    annotations
        .contains_key(STATUS)
        .then_some(Reason::AlreadyInjected)
}

fn is_system(namespace: &str) -> bool {
    SYSTEM_NAMESPACES.contains(&namespace)
}

/// The namespace's labels come first, the older of the two above the revision's; a pod's labels
/// count only where the namespace has none.
fn not_selected(
    pod_revision: Option<&String>,
    label_asks: bool,
    context: &Context<'_>,
) -> Option<Reason> {
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
    if let Some(wanted) = namespace.labels.get(REVISION).or(pod_revision) {
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
