//! The authority's Secrets: names and keys are Istio's.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use mesh_kubernetes::kube::api::ObjectMeta;

use crate::authority::{AuthorityError, Material, Origin, Part};

/// Plugged in by the operator.
pub(super) const PLUGGED_IN: &str = "cacerts";
/// Made by the first control plane.
pub(super) const SELF_SIGNED: &str = "istio-ca-secret";
/// Asks for a new self-signed root; its value doesn't matter.
pub(super) const ROTATE: &str = "mesh.citadel/rotate-root";

/// The keys of a Secret that hold an authority.
struct Keys {
    certificate: &'static str,
    key: &'static str,
    chain: &'static str,
    root: &'static str,
}

const ISTIO: Keys = Keys {
    certificate: CERTIFICATE,
    key: KEY,
    chain: CHAIN,
    root: ROOT,
};
/// Of a Secret of type `kubernetes.io/tls`, as cert-manager writes it. Istio takes it, too.
const TLS: Keys = Keys {
    certificate: "tls.crt",
    key: "tls.key",
    chain: "tls.crt",
    root: "ca.crt",
};

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOT: &str = "root-cert.pem";
/// The self-signed root's successor, which is trusted already and doesn't sign yet.
const NEXT_CERTIFICATE: &str = "next-ca-cert.pem";
const NEXT_KEY: &str = "next-ca-key.pem";

/// `None` if the Secret is empty. One with something else in it is an error: a root of our own beside
/// it would not be what its owner wants.
pub(super) fn plugged_in(secret: &Secret) -> Result<Option<Material>, AuthorityError> {
    if data(secret).is_none_or(BTreeMap::is_empty) {
        return Ok(None);
    }
    let keys = match has(secret, TLS.certificate) {
        true => TLS,
        false => ISTIO,
    };
    let missing: Vec<&str> = [keys.certificate, keys.key, keys.chain, keys.root]
        .into_iter()
        .filter(|name| !has(secret, name))
        .collect();
    if !missing.is_empty() {
        return Err(AuthorityError::Incomplete {
            place: format!("Secret {}", place(secret)),
            missing: missing.join(", "),
        });
    }
    Ok(Some(Material {
        origin: Origin::PluggedIn,
        certificate: part(secret, keys.certificate)?,
        key: part(secret, keys.key)?,
        chain: part(secret, keys.chain)?,
        root: part(secret, keys.root)?,
    }))
}

/// The self-signed root. It is its own root whatever `root-cert.pem` says: Istio renews the one
/// and leaves the other.
pub(super) fn self_signed(secret: &Secret) -> Result<Material, AuthorityError> {
    root(secret, CERTIFICATE, KEY)
}

/// The self-signed root's successor, if there is one.
pub(super) fn next(secret: &Secret) -> Result<Option<Material>, AuthorityError> {
    if !has(secret, NEXT_CERTIFICATE) && !has(secret, NEXT_KEY) {
        return Ok(None);
    }
    root(secret, NEXT_CERTIFICATE, NEXT_KEY).map(Some)
}

fn root(secret: &Secret, certificate: &str, key: &str) -> Result<Material, AuthorityError> {
    Ok(Material {
        origin: Origin::SelfSigned,
        certificate: part(secret, certificate)?,
        key: part(secret, key)?,
        chain: Part {
            place: String::new(),
            text: String::new(),
        },
        root: part(secret, certificate)?,
    })
}

/// A new Secret for a self-signed root.
pub(super) fn new_self_signed(namespace: &str, certificate: &str, key: &str) -> Secret {
    let texts = [
        (CERTIFICATE, certificate),
        (KEY, key),
        (CHAIN, ""),
        (ROOT, certificate),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(SELF_SIGNED.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("istio.io/ca-root".to_owned()),
        data: Some(
            texts
                .map(|(name, text)| (name.to_owned(), ByteString(text.into())))
                .into(),
        ),
        ..Secret::default()
    }
}

/// `secret` with a successor of its root; the request for one is fulfilled.
pub(super) fn with_next(mut secret: Secret, certificate: String, key: String) -> Secret {
    if let Some(annotations) = &mut secret.metadata.annotations {
        annotations.remove(ROTATE);
    }
    let data = secret.data.get_or_insert_default();
    data.insert(
        NEXT_CERTIFICATE.to_owned(),
        ByteString(certificate.into_bytes()),
    );
    data.insert(NEXT_KEY.to_owned(), ByteString(key.into_bytes()));
    secret
}

/// `secret` with the successor in the root's place.
pub(super) fn promoted(mut secret: Secret) -> Secret {
    let data = secret.data.get_or_insert_default();
    if let (Some(certificate), Some(key)) = (data.remove(NEXT_CERTIFICATE), data.remove(NEXT_KEY)) {
        data.insert(ROOT.to_owned(), certificate.clone());
        data.insert(CERTIFICATE.to_owned(), certificate);
        data.insert(KEY.to_owned(), key);
    }
    secret
}

/// `secret`, as it must be to create it anew.
pub(super) fn recreated(secret: &Secret) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: secret.metadata.name.clone(),
            namespace: secret.metadata.namespace.clone(),
            labels: secret.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        ..secret.clone()
    }
}

/// Whether a new root is asked for.
pub(super) fn rotation_asked(secret: &Secret) -> bool {
    secret
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(ROTATE))
}

/// Namespace and name.
pub(super) fn place(secret: &Secret) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{}/{}",
        part(&secret.metadata.namespace),
        part(&secret.metadata.name)
    )
}

fn data(secret: &Secret) -> Option<&BTreeMap<String, ByteString>> {
    secret.data.as_ref()
}

fn has(secret: &Secret, name: &str) -> bool {
    data(secret).is_some_and(|data| data.contains_key(name))
}

fn part(secret: &Secret, name: &str) -> Result<Part, AuthorityError> {
    let place = format!("key {name} of Secret {}", place(secret));
    let bytes = data(secret).and_then(|data| data.get(name));
    let text = match bytes.map(|bytes| String::from_utf8(bytes.0.clone())) {
        Some(Ok(text)) => text,
        found => {
            let reason = match found {
                None => "it is missing",
                Some(_) => "it is no text",
            };
            return Err(AuthorityError::Unusable {
                place,
                reason: reason.to_owned(),
            });
        }
    };
    Ok(Part { place, text })
}
