//! Tokens verified with the keys of a JWKS file.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Caller, TokenError, expired, other_audience, service_account};

/// Clocks may differ by so many seconds.
const LEEWAY_SECONDS: u64 = 10;

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

/// The file, and what was in it.
pub(super) struct KeyFile {
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

impl KeyFile {
    pub(super) fn new(jwks: &Path, issuer: &str, audience: &str) -> Self {
        Self {
            path: jwks.to_owned(),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys: Mutex::new(None),
        }
    }

    /// Reads the key file if it has changed. The token's subject and claims must name the same
    /// service account.
    pub(super) fn verify(&self, token: &str) -> Result<Caller, TokenError> {
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
            .map_err(|error| self.refused(&error))?
            .claims;
        caller(claims)
    }

    fn refused(&self, error: &jsonwebtoken::errors::Error) -> TokenError {
        use jsonwebtoken::errors::ErrorKind;
        let reason = match error.kind() {
            ErrorKind::ExpiredSignature => return expired(),
            ErrorKind::InvalidAudience => return other_audience(&self.audience),
            ErrorKind::InvalidIssuer => format!("its issuer is not {:?}", self.issuer),
            ErrorKind::InvalidSignature => "its signature is wrong".to_owned(),
            _ => error.to_string(),
        };
        TokenError::Refused { reason }
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

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
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
    let (namespace, service_account) = service_account(&claims.sub)?;
    let mut pod = None;
    if let Some(bound) = claims.kubernetes {
        if bound.namespace != namespace || bound.serviceaccount.name != service_account {
            return Err(TokenError::NoServiceAccount {
                reason: format!(
                    "its subject is {:?}, its claims name {}/{}",
                    claims.sub, bound.namespace, bound.serviceaccount.name
                ),
            });
        }
        pod = bound.pod.map(|pod| pod.name);
    }
    Ok(Caller {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod,
    })
}
