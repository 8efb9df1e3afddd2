//! Service-account tokens: signed JWTs as the API server's TokenRequest makes them, and the JWKS
//! by which others check them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::state::{self, StateDir, StateError};

/// `iss` of every token.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Why tokens cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key file holds no key.
    #[error("{} holds no usable EC private key: {reason} (remove it and a new one is made)", .path.display())]
    Key {
        /// The key file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Signing failed.
    #[error("a service-account token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs tokens with the platform's key (ES256).
pub(crate) struct Signer {
    key: EncodingKey,
    key_id: String,
    jwks: Value,
}

/// Whose token, for whom, for how long.
#[derive(Debug, Clone)]
pub(crate) struct Claims<'a> {
    /// Namespace of account and pod.
    pub(crate) namespace: &'a str,
    /// Name and uid of the service account.
    pub(crate) account: (&'a str, &'a str),
    /// Name and uid of the pod.
    pub(crate) pod: (&'a str, &'a str),
    /// Who shall accept it; empty for the API server itself.
    pub(crate) audience: &'a str,
    /// How long it is valid.
    pub(crate) lifetime: Duration,
}

impl Signer {
    /// Takes the key from the state directory, or makes one (mode 0600), and writes the JWKS.
    ///
    /// # Errors
    /// [`TokenError`]; the text names the file.
    pub(crate) fn load_or_create(state: &StateDir) -> Result<Self, TokenError> {
        let path = state.token_key();
        let bad = |reason: String| TokenError::Key {
            path: path.clone(),
            reason,
        };
        let pair = match std::fs::read_to_string(&path) {
            Ok(text) => rcgen::KeyPair::from_pem(&text).map_err(|error| bad(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
                    .map_err(|error| bad(error.to_string()))?;
                state::write_atomic(&path, pair.serialize_pem().as_bytes(), 0o600)?;
                pair
            }
            Err(source) => return Err(StateError::new("read", &path, source).into()),
        };
        // An uncompressed point: 04, x (32 bytes), y (32 bytes).
        let public = pair.public_key_raw();
        if public.len() != 65 {
            return Err(bad("not a P-256 key".to_owned()));
        }
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(public));
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id,
            "x": URL_SAFE_NO_PAD.encode(&public[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&public[33..65]),
        }]});
        state::write_atomic(&state.jwks(), jwks.to_string().as_bytes(), 0o644)?;
        Ok(Self {
            key: EncodingKey::from_ec_der(pair.serialized_der()),
            key_id,
            jwks,
        })
    }

    /// The public half.
    pub(crate) fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// A signed token. `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError::Sign`].
    pub(crate) fn issue(&self, claims: &Claims<'_>, now: u64) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        let audience = if claims.audience.is_empty() {
            ISSUER
        } else {
            claims.audience
        };
        let body = json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.account.0),
            "aud": [audience],
            "iat": now,
            "nbf": now,
            "exp": now + claims.lifetime.as_secs(),
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": {
                "namespace": claims.namespace,
                "serviceaccount": {"name": claims.account.0, "uid": claims.account.1},
                "pod": {"name": claims.pod.0, "uid": claims.pod.1},
            },
        });
        Ok(jsonwebtoken::encode(&header, &body, &self.key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

    #[test]
    fn tokens_are_verified_by_the_published_keys_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let claims = Claims {
            namespace: "default",
            account: ("bookinfo-reviews", "sa-uid"),
            pod: ("reviews-1", "pod-uid"),
            audience: "istio-ca",
            lifetime: Duration::from_secs(3600),
        };
        let token = Signer::load_or_create(&state)
            .unwrap()
            .issue(&claims, now)
            .unwrap();
        let again = Signer::load_or_create(&state).unwrap();
        let keys: JwkSet = serde_json::from_value(again.jwks().clone()).unwrap();
        let header = decode_header(&token).unwrap();
        let key = keys.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["istio-ca"]);
        validation.set_issuer(&[ISSUER]);
        let decoded =
            decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
        assert_eq!(
            decoded.claims["sub"],
            "system:serviceaccount:default:bookinfo-reviews"
        );
        assert_eq!(decoded.claims["kubernetes.io"]["pod"]["uid"], "pod-uid");
        assert_eq!(decoded.claims["exp"], now + 3600);
    }

    #[test]
    fn a_broken_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        std::fs::write(state.token_key(), "nonsense").unwrap();
        let error = Signer::load_or_create(&state).err().unwrap().to_string();
        assert!(error.contains("tokens.key"), "{error}");
    }
}
