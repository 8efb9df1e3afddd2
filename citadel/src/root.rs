//! The authority on Kubernetes: kept in Secrets of the mesh's namespace, and exchanged while the
//! mesh runs.
//!
//! Secret `cacerts` (plugged in by the operator) wins over `istio-ca-secret` (self-signed, made
//! on the first start); names and keys are Istio's, and what Istio left is taken over.
//!
//! **Rotation.** A root is given out before anything is signed under it, and is trusted until
//! the last certificate under it has ended:
//!
//! 1. A new root appears: the operator changes `cacerts`, or the leader puts the successor of the
//!    self-signed root beside it. From then on every replica gives out both roots.
//! 2. After [`Settings::propagation`], counted from when the leader wrote down that it gives the
//!    new root out, every replica signs with the new one.
//! 3. The old root leaves when the longest certificate that may exist under it has ended.
//!
//! Which roots are given out, since when and until when, stands in Secret `citadel-trust`, so
//! that a restart or another leader goes on where the last one was.

mod keeper;
mod secret;
mod trust;
mod watch;

use std::time::Duration;

use mesh_kubernetes::kube::{Client, Error};
use mesh_kubernetes::{ANSWER_WITHIN, explain};

use crate::authority::{AuthorityError, Options};

pub use watch::Root;

/// How long a new root is given out before anything is signed under it, unless set otherwise.
///
/// A kubelet writes a changed ConfigMap into its pods within its sync period (60 s, prolonged by
/// up to half at random) and the life of its cache (60 s at most); twice that.
pub const DEFAULT_PROPAGATION: Duration = Duration::from_secs(300);

/// Settings of the authority on Kubernetes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mesh's namespace, which has the Secrets.
    pub namespace: String,
    /// What is signed.
    pub authority: Options,
    /// How long a new root is given out before anything is signed under it.
    pub propagation: Duration,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The Secrets have been read, but are unusable.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The record of trusted roots is damaged.
    #[error(
        "key {key} of Secret {secret} is damaged: {reason} (delete the Secret to trust nothing but the current root: certificates of older roots are then refused)"
    )]
    Trust {
        /// Namespace and name.
        secret: String,
        /// Which key of it.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Opens the authority: reads its Secrets, makes the root if there is none. Waits for the API
/// server for as long as it takes, and tells our log what it waits for.
///
/// # Errors
/// [`RootError`] if a Secret is there but unusable: it is never answered with a new root.
pub async fn open(client: Client, settings: Settings) -> Result<Root, RootError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Box::pin(watch::open(&client, &settings));
        let reason = match tokio::time::timeout(ANSWER_WITHIN, opened).await {
            Ok(Ok(root)) => return Ok(root),
            Ok(Err(OpenError::Root(error))) => return Err(error),
            Ok(Err(OpenError::Api(error))) => explain(&error),
            Err(_) => format!("no answer within {ANSWER_WITHIN:?}"),
        };
        tracing::warn!(
            namespace = settings.namespace,
            %reason,
            again_in = ?pause,
            "waiting for the API server, to read the certificate authority's Secrets"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Api(#[from] Error),
    #[error(transparent)]
    Root(#[from] RootError),
}

impl From<AuthorityError> for OpenError {
    fn from(error: AuthorityError) -> Self {
        Self::Root(error.into())
    }
}
