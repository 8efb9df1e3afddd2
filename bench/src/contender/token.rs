//! Service-account tokens, as a cluster would give the proxies.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const KEY_ID: &str = "mesh-bench";
const LIFETIME_SECONDS: u64 = 24 * 3600;

/// Signs tokens with a key of this run.
pub(super) struct Signer {
    key: EncodingKey,
}

impl Signer {
    /// Makes a key and writes its public half, as JWKS.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn create(jwks: &Path) -> anyhow::Result<Self> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .context("make a key for tokens")?;
        // An uncompressed point: 04, x (32 bytes), y (32 bytes).
        let public = pair.public_key_raw();
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(&public[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&public[33..65]),
        }]});
        std::fs::write(jwks, keys.to_string())
            .with_context(|| format!("write {}", jwks.display()))?;
        Ok(Self {
            key: EncodingKey::from_ec_der(pair.serialized_der()),
        })
    }

    /// A token of a service account and its pod.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(super) fn issue(&self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let now = now.as_secs();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "aud": ["istio-ca"],
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": account},
                "pod": {"name": account, "uid": account},
            },
        });
        jsonwebtoken::encode(&header, &claims, &self.key).context("sign a token")
    }
}
