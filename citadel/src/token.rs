//! Service-account tokens: who is calling.
//!
//! On Kubernetes the API server is asked (`token/review.rs`), elsewhere tokens are verified with the
//! keys of a file (`token/keys.rs`).

mod keys;
mod review;

use std::path::{Path, PathBuf};

use mesh_identity::{SpiffeId, SpiffeIdError, TrustDomain};
use mesh_kubernetes::kube::Client;

use keys::KeyFile;
use review::Reviewer;

/// The audience of tokens for the control plane, as in Istio.
pub const AUDIENCE: &str = "istio-ca";
/// Longest token in bytes that is looked at; those of Kubernetes have 1 to 2 KB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a token identifies nobody.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key set cannot be read.
    #[error("read token keys from {path}: {reason}")]
    Keys {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The API server can't be asked now.
    #[error("ask the API server about a token: {reason}")]
    Review {
        /// What is wrong.
        reason: String,
    },
    /// The text is no JWT.
    #[error("token is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// No key with the token's `kid`.
    #[error("token is signed by the unknown key {kid:?} (is it from another cluster?)")]
    UnknownKey {
        /// The token's key id.
        kid: String,
    },
    /// Signature, issuer, audience or time are wrong.
    #[error("token is refused: {reason}")]
    Refused {
        /// What is wrong.
        reason: String,
    },
    /// The token is valid but not one of a service account.
    #[error("token names no service account: {reason}")]
    NoServiceAccount {
        /// What is wrong.
        reason: String,
    },
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Pod to which the token is bound, if it is.
    pub pod: Option<String>,
}

impl Caller {
    /// The caller's SPIFFE id.
    ///
    /// # Errors
    /// [`SpiffeIdError`] if a name has a character that SPIFFE forbids.
    pub fn spiffe_id(&self, trust_domain: &TrustDomain) -> Result<SpiffeId, SpiffeIdError> {
        SpiffeId::service_account(trust_domain, &self.namespace, &self.service_account)
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Verifier(Kind);

#[derive(Debug)]
enum Kind {
    Keys(KeyFile),
    Review(Box<Reviewer>),
}

impl Verifier {
    /// A verifier of tokens of `issuer` for `audience` (usually [`AUDIENCE`]) by a JWKS file,
    /// which is read again when it changes. It may come into being later: until then every
    /// token is refused.
    pub fn key_file(jwks: &Path, issuer: &str, audience: &str) -> Self {
        Self(Kind::Keys(KeyFile::new(jwks, issuer, audience)))
    }

    /// A verifier that asks the API server about tokens for `audience`.
    pub fn token_review(client: Client, audience: &str) -> Self {
        Self(Kind::Review(Box::new(Reviewer::new(client, audience))))
    }

    /// Verifies a token: signature, issuer, audience, time, and that it is one of a service
    /// account.
    ///
    /// # Errors
    /// [`TokenError`] that says what is wrong; it never quotes the token.
    pub async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Damaged {
                reason: format!("{} bytes are too many", token.len()),
            });
        }
        match &self.0 {
            Kind::Keys(file) => file.verify(token),
            Kind::Review(reviewer) => reviewer.verify(token).await,
        }
    }
}

fn expired() -> TokenError {
    TokenError::Refused {
        reason: "it has expired (is the projected token file still refreshed?)".to_owned(),
    }
}

fn other_audience(audience: &str) -> TokenError {
    TokenError::Refused {
        reason: format!("its audience is not {audience:?}"),
    }
}

/// Namespace and name of the service account that a token's subject names.
fn service_account(subject: &str) -> Result<(&str, &str), TokenError> {
    subject
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .filter(|(namespace, account)| {
            !namespace.is_empty() && !account.is_empty() && !account.contains(':')
        })
        .ok_or_else(|| TokenError::NoServiceAccount {
            reason: format!("its subject is {subject:?}"),
        })
}

#[cfg(test)]
pub(crate) mod tests;
