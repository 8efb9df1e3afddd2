//! The sidecar injector: a pod in, a patch out.
//!
//! [`inject`] is what the mutating webhook, the local platform and `meshctl` call. It decides as
//! Istio's webhook configuration and injector do together (`decide.rs`), builds the injected pod
//! from small parts (one module each) and returns the difference as an RFC 6902 patch. Pure: no
//! IO, no clock; the same pod and context give the same patch, and an injected pod is left alone.
//!
//! The pod stays a JSON value from beginning to end, so that fields this version does not know survive.
//!
//! Around it, for Kubernetes: [`Server`] answers the API server's webhooks, [`watch_inputs`] keeps
//! what they inject with current, [`webhook_config`] keeps the webhooks' own configuration current.

mod again;
mod annotations;
mod capture;
mod decide;
mod image;
mod inputs;
mod metadata;
mod overlay;
mod plan;
mod pod;
mod probes;
mod prometheus;
mod server;
mod settings;
mod sidecar;
mod volumes;
pub mod webhook_config;
mod workload;

use mesh_config::MeshConfig;
use serde_json::Value;

pub use annotations::warnings;
pub use decide::{Reason, Selection};
pub use inputs::{Cluster, Inputs, has_native_sidecars, watch as watch_inputs};
pub use server::Server;
pub use settings::{CaptureDefaults, Namespace, Readiness, Resources, Settings, ValuesError};

/// Name of the proxy's container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the init container that sets up capture.
pub const INIT_CONTAINER: &str = "istio-init";

/// What a pod is injected with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The pod's namespace.
    pub namespace: &'a Namespace,
    /// The mesh's settings.
    pub mesh: &'a MeshConfig,
    /// The injector's own settings.
    pub settings: &'a Settings,
    /// Who selects pods by label.
    pub selection: Selection,
}

/// What is to be done with a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It stays as it is.
    Skip(Reason),
    /// It is changed by this patch (against the pod as given).
    Patch(json_patch::Patch),
}

/// Why a pod cannot be injected. The message names the pod's own field or annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The pod is not one.
    #[error("{path}: {problem}")]
    Pod {
        /// Path of the field.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An annotation has a bad value.
    #[error("annotation {name}={value:?} is not valid: {problem}")]
    Annotation {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An annotation of Istio's asks for what is not implemented yet.
    #[error("annotation {name} is not implemented yet; {remedy}")]
    NotImplemented {
        /// Its name.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// Decides whether `pod` (a Kubernetes Pod as JSON) gets a proxy, and how the pod is changed.
///
/// # Errors
/// [`InjectError`]: the pod must be refused, since running it without its proxy, or with another
/// one than was asked for, would open what the mesh's policies close.
pub fn inject(pod: &Value, context: &Context<'_>) -> Result<Outcome, InjectError> {
    let skipped = decide::skip(pod, context);
    let injected_before = skipped == Some(Reason::AlreadyInjected);
    if let (Some(reason), false) = (&skipped, injected_before) {
        return Ok(Outcome::Skip(reason.clone()));
    }
    let plan = plan::Plan::read(pod, context)?;
    let mut injected = pod.clone();
    match injected_before {
        false => plan.apply(&mut injected)?,
        true => plan.complete(&mut injected)?,
    }
    let patch = json_patch::diff(pod, &injected);
    match skipped {
        Some(reason) if patch.is_empty() => Ok(Outcome::Skip(reason)),
        _ => Ok(Outcome::Patch(patch)),
    }
}
