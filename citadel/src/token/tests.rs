use std::fs;
use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A token issuer with its published key set.
pub(crate) struct Issuer {
    directory: TempDir,
    key: KeyPair,
    kid: &'static str,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let issuer = Self {
            directory: TempDir::new().unwrap(),
            key: KeyPair::generate().unwrap(),
            kid: "one",
        };
        issuer.publish();
        issuer
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("jwks.json")
    }

    fn publish(&self) {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        // Uncompressed point: 4, x, y.
        let point = self.key.der_bytes();
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": self.kid, "alg": "ES256", "use": "sig",
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        }]});
        let next = self.directory.path().join(".next");
        fs::write(&next, keys.to_string()).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::key_file(&self.path(), ISSUER, AUDIENCE)
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.sign(&claims())
    }
}

fn claims() -> Value {
    let now = jsonwebtoken::get_current_timestamp();
    json!({
        "iss": ISSUER, "aud": ["istio-ca"], "sub": "system:serviceaccount:default:bookinfo-reviews",
        "exp": now + 600, "nbf": now, "iat": now,
        "kubernetes.io": {
            "namespace": "default",
            "serviceaccount": {"name": "bookinfo-reviews", "uid": "1"},
            "pod": {"name": "reviews-v1-abc", "uid": "2"},
        },
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

#[tokio::test]
async fn reads_the_service_account() {
    let issuer = Issuer::new();
    let caller = issuer.verifier().verify(&issuer.token()).await.unwrap();
    assert_eq!(caller.pod.as_deref(), Some("reviews-v1-abc"));
    let id = caller.spiffe_id(&TrustDomain::default()).unwrap();
    assert_eq!(
        id.as_str(),
        "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    );
}

#[tokio::test]
async fn refuses_by_audience_issuer_time_and_subject() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let now = jsonwebtoken::get_current_timestamp();
    for (key, value, part) in [
        ("aud", json!(["api"]), "its audience is not \"istio-ca\""),
        ("iss", json!("https://elsewhere"), "its issuer is not"),
        ("exp", json!(now - 60), "it has expired"),
        ("nbf", json!(now + 600), "token is refused"),
        ("sub", json!("jane"), "its subject is \"jane\""),
        (
            "sub",
            json!("system:serviceaccount:default:"),
            "names no service account",
        ),
        (
            "sub",
            json!("system:serviceaccount:kube-system:admin"),
            "its claims name default/bookinfo-reviews",
        ),
    ] {
        let error = verifier
            .verify(&issuer.sign(&with(key, value)))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(
        verifier.verify("a.b.c").await,
        Err(TokenError::Damaged { .. })
    ));
    assert!(matches!(
        verifier.verify(&"a".repeat(20_000)).await,
        Err(TokenError::Damaged { .. })
    ));
}

#[tokio::test]
async fn refuses_a_signature_of_another_key_and_no_signature() {
    let issuer = Issuer::new();
    let impostor = Issuer::new();
    let error = issuer
        .verifier()
        .verify(&impostor.token())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("signature is wrong"), "{error}");
    let token = issuer.token();
    let mut parts: Vec<&str> = token.split('.').collect();
    // {"alg":"none","kid":"one"}
    parts[0] = "eyJhbGciOiJub25lIiwia2lkIjoib25lIn0";
    parts[2] = "";
    assert!(issuer.verifier().verify(&parts.join(".")).await.is_err());
}

#[tokio::test]
async fn follows_a_change_of_keys() {
    let mut issuer = Issuer::new();
    let verifier = issuer.verifier();
    let old = issuer.token();
    verifier.verify(&old).await.unwrap();
    issuer.key = KeyPair::generate().unwrap();
    issuer.kid = "two";
    assert!(matches!(
        verifier.verify(&issuer.token()).await,
        Err(TokenError::UnknownKey { .. })
    ));
    issuer.publish();
    verifier.verify(&issuer.token()).await.unwrap();
    assert!(matches!(
        verifier.verify(&old).await,
        Err(TokenError::UnknownKey { .. })
    ));
}

#[tokio::test]
async fn says_that_the_key_file_is_missing() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    fs::remove_file(issuer.path()).unwrap();
    assert!(matches!(
        verifier.verify(&issuer.token()).await,
        Err(TokenError::Keys { .. })
    ));
}
