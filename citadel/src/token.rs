//! Service-account tokens: who is calling.
//!
//! Tokens are verified against a JWKS file, which is read again when it changes. On
//! Kubernetes the TokenReview API takes this place.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mesh_identity::{SpiffeId, SpiffeIdError, TrustDomain};
use parking_lot::Mutex;
use serde::Deserialize;

/// The audience of tokens for the control plane, as in Istio.
pub const AUDIENCE: &str = "istio-ca";
/// Clocks may differ by so many seconds.
const LEEWAY_SECONDS: u64 = 10;
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

struct Keys {
    set: JwkSet,
    stamp: Stamp,
}

/// What tells one content of a file from the next without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    inode: u64,
    length: u64,
}

/// Verifies tokens against a JWKS file.
pub struct Verifier {
    path: PathBuf,
    issuer: String,
    audience: String,
    keys: Mutex<Option<Keys>>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Verifier {
    /// A verifier of tokens of `issuer` for `audience` (usually [`AUDIENCE`]). The file may come
    /// into being later: until then every token is refused.
    pub fn new(jwks: &Path, issuer: &str, audience: &str) -> Self {
        Self {
            path: jwks.to_owned(),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys: Mutex::new(None),
        }
    }

    /// Verifies a token: signature, issuer, audience, time, and that subject and claims name
    /// the same service account. Reads the key file if it has changed.
    ///
    /// # Errors
    /// [`TokenError`] that says what is wrong; it never quotes the token.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Damaged {
                reason: format!("{} bytes are too many", token.len()),
            });
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| TokenError::Damaged {
            reason: error.to_string(),
        })?;
        let key = self.key(header.kid.as_deref())?;
        let mut validation = Validation::new(algorithm(&key)?);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let decoding = DecodingKey::from_jwk(&key).map_err(|error| TokenError::Keys {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        let claims = jsonwebtoken::decode::<Claims>(token, &decoding, &validation)
            .map_err(|error| TokenError::Refused {
                reason: self.explain(&error),
            })?
            .claims;
        caller(claims)
    }

    fn explain(&self, error: &jsonwebtoken::errors::Error) -> String {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::ExpiredSignature => {
                "it has expired (is the projected token file still refreshed?)".to_owned()
            }
            ErrorKind::InvalidAudience => format!("its audience is not {:?}", self.audience),
            ErrorKind::InvalidIssuer => format!("its issuer is not {:?}", self.issuer),
            ErrorKind::InvalidSignature => "its signature is wrong".to_owned(),
            _ => error.to_string(),
        }
    }

    fn key(&self, kid: Option<&str>) -> Result<Jwk, TokenError> {
        let mut keys = self.keys.lock();
        let failed = |reason: String| TokenError::Keys {
            path: self.path.clone(),
            reason,
        };
        let stamp = stamp(&self.path).map_err(|error| failed(error.to_string()))?;
        if keys.as_ref().is_none_or(|keys| keys.stamp != stamp) {
            let text =
                std::fs::read_to_string(&self.path).map_err(|error| failed(error.to_string()))?;
            let set = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            *keys = Some(Keys { set, stamp });
        }
        let set = keys
            .as_ref()
            .map(|keys| keys.set.keys.as_slice())
            .unwrap_or_default();
        let found = match kid {
            Some(kid) => set
                .iter()
                .find(|key| key.common.key_id.as_deref() == Some(kid)),
            // Without a key id there must be no choice.
            None => set.first().filter(|_| set.len() == 1),
        };
        found.cloned().ok_or_else(|| TokenError::UnknownKey {
            kid: kid.unwrap_or_default().to_owned(),
        })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("path", &self.path)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        inode: metadata.ino(),
        length: metadata.len(),
    })
}

/// The algorithm follows from the key, never from the token's header.
fn algorithm(key: &Jwk) -> Result<Algorithm, TokenError> {
    let found = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(parameters)
            if parameters.curve == EllipticCurve::P256 =>
        {
            Some(Algorithm::ES256)
        }
        AlgorithmParameters::EllipticCurve(parameters)
            if parameters.curve == EllipticCurve::P384 =>
        {
            Some(Algorithm::ES384)
        }
        _ => None,
    };
    found.ok_or_else(|| TokenError::UnknownKey {
        kid: key.common.key_id.clone().unwrap_or_default(),
    })
}

fn caller(claims: Claims) -> Result<Caller, TokenError> {
    let refuse = |reason: String| TokenError::NoServiceAccount { reason };
    let names = claims
        .sub
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .filter(|(namespace, account)| {
            !namespace.is_empty() && !account.is_empty() && !account.contains(':')
        });
    let Some((namespace, service_account)) = names else {
        return Err(refuse(format!("its subject is {:?}", claims.sub)));
    };
    let mut pod = None;
    if let Some(bound) = claims.kubernetes {
        if bound.namespace != namespace || bound.serviceaccount.name != service_account {
            return Err(refuse(format!(
                "its subject is {:?}, its claims name {}/{}",
                claims.sub, bound.namespace, bound.serviceaccount.name
            )));
        }
        pod = bound.pod.map(|pod| pod.name);
    }
    Ok(Caller {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod,
    })
}

#[cfg(test)]
pub(crate) mod tests;
