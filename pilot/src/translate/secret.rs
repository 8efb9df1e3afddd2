//! SDS: certificates of gateways, from TLS secrets of the gateway's own namespace.
//!
//! Only for gateways: a sidecar has no business with other workloads' keys. A secret that cannot be
//! used is left out (and is a [`problem`]); the listeners of the others go on.

use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use mesh_identity::tls::web::{Credentials, Versions, server_config};

use super::tls::CA_SUFFIX;
use super::{EncodedResource, Names, context::Context, wire::*};
use crate::snapshot::Problem;

const SCHEME: &str = "kubernetes://";
/// Keys of certificate, private key and CA: Kubernetes' own and Istio's generic form.
const CERTIFICATE: [&str; 2] = ["tls.crt", "cert"];
const PRIVATE_KEY: [&str; 2] = ["tls.key", "key"];
const AUTHORITY: [&str; 2] = ["ca.crt", "cacert"];
/// All of them: whatever else a secret holds is never read.
pub(crate) const KEYS: [&str; 6] = ["tls.crt", "cert", "tls.key", "key", "ca.crt", "cacert"];

/// The named secrets; for [`Names::All`] those that the gateway's listeners refer to.
pub(crate) fn build(cx: &Context<'_>, wanted: &Names) -> Vec<EncodedResource> {
    if cx.is_sidecar() {
        return Vec::new();
    }
    let allowed = referenced(cx);
    allowed
        .iter()
        .filter(|name| wanted.contains(name))
        .filter_map(|name| one(cx, name))
        .collect()
}

/// Names of the credentials of the gateway's servers: only these may be read.
fn referenced(cx: &Context<'_>) -> Vec<String> {
    use mesh_config::tls::{ServerCredential, TerminationMode};
    let mut out = Vec::new();
    let servers = cx
        .gateway()
        .groups
        .values()
        .flat_map(|group| &group.servers);
    for tls in servers.filter_map(crate::snapshot::GatewayServer::terminated) {
        let (credential, mutual) = match &tls.mode {
            TerminationMode::Simple(credential) => (credential, false),
            TerminationMode::Mutual { credential, .. } => (credential, true),
            TerminationMode::IstioMutual => continue,
        };
        let ServerCredential::Secrets(names) = credential else {
            continue;
        };
        out.extend(names.iter().map(|name| format!("{SCHEME}{name}")));
        if mutual && let Some(first) = names.first() {
            out.push(format!("{SCHEME}{first}{CA_SUFFIX}"));
        }
    }
    out.sort();
    out.dedup();
    out
}

fn one(cx: &Context<'_>, resource: &str) -> Option<EncodedResource> {
    let name = resource.strip_prefix(SCHEME)?;
    let find = |name: &str| {
        let key = (cx.proxy.namespace.clone(), name.to_owned());
        cx.snapshot.secrets.get(&key)
    };
    let kind = match name.strip_suffix(CA_SUFFIX) {
        // Either a secret NAME-cacert of its own, or the CA beside the certificate.
        Some(base) => {
            let roots = client_authority(base, find)?;
            tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
                trusted_ca: Some(inline(roots)),
                ..tls::CertificateValidationContext::default()
            })
        }
        None => {
            let secret = find(name)?;
            check(secret).ok()?;
            tls::secret::Type::TlsCertificate(tls::TlsCertificate {
                certificate_chain: value(secret, &CERTIFICATE).map(inline),
                private_key: value(secret, &PRIVATE_KEY).map(inline),
                ..tls::TlsCertificate::default()
            })
        }
    };
    let message = tls::Secret {
        name: resource.to_owned(),
        r#type: Some(kind),
    };
    Some(EncodedResource::new(resource, &message))
}

/// The CA of clients' certificates for the credential `name`: from a secret `NAME-cacert` of its
/// own, or beside the certificate. `find` knows the secrets of the gateway's namespace.
fn client_authority<'a>(
    name: &str,
    find: impl Fn(&str) -> Option<&'a Arc<Secret>>,
) -> Option<Bytes> {
    let own = find(&format!("{name}{CA_SUFFIX}"))
        .and_then(|secret| value(secret, &AUTHORITY).or_else(|| value(secret, &CERTIFICATE)));
    own.or_else(|| value(find(name)?, &AUTHORITY))
}

/// Whether no CA of clients' certificates can be found for the credential `name`.
pub(crate) fn lacks_client_authority<'a>(
    name: &str,
    find: impl Fn(&str) -> Option<&'a Arc<Secret>>,
) -> bool {
    client_authority(name, find).is_none()
}

fn value(secret: &Secret, keys: &[&str]) -> Option<Bytes> {
    let data = secret.data.as_ref();
    let text = secret.string_data.as_ref();
    keys.iter().find_map(|key| {
        let bytes = data
            .and_then(|data| data.get(*key))
            .map(|bytes| bytes.0.clone());
        let plain = || {
            text.and_then(|text| text.get(*key))
                .map(|text| text.clone().into_bytes())
        };
        bytes
            .or_else(plain)
            .filter(|bytes| !bytes.is_empty())
            .map(Bytes::from)
    })
}

fn inline(bytes: Bytes) -> base::DataSource {
    base::DataSource {
        specifier: Some(base::data_source::Specifier::InlineBytes(bytes)),
        watched_directory: None,
    }
}

/// Whether a secret holds a certificate and its key.
fn check(secret: &Secret) -> Result<(), (&'static str, String)> {
    let Some(certificate) = value(secret, &CERTIFICATE) else {
        return Err(("data", "neither tls.crt nor cert is there".to_owned()));
    };
    let Some(key) = value(secret, &PRIVATE_KEY) else {
        return Err(("data", "neither tls.key nor key is there".to_owned()));
    };
    let credentials = Credentials {
        chain_pem: &certificate,
        key_pem: &key,
    };
    // Building a configuration is the whole check: PEM, key type, and that the key fits.
    server_config(credentials, None, Versions::default(), &[])
        .map(|_| ())
        .map_err(|error| ("data", error.to_string()))
}

/// What gateways are served in place of a broken secret.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InPlace {
    /// Nothing: it never was good.
    Nothing,
    /// The secret as it was before it was broken.
    LastGood,
}

/// Whether a secret can't be served.
pub(crate) fn is_broken(secret: &Secret) -> bool {
    check(secret).is_err()
}

/// What is wrong with a secret that a Gateway names; `None` if nothing is.
pub(crate) fn problem(secret: &Secret, in_place: InPlace) -> Option<Problem> {
    let (field, message) = check(secret).err()?;
    let consequence = match in_place {
        InPlace::Nothing => "gateways that use it refuse TLS for its hosts",
        InPlace::LastGood => "gateways that use it go on with its last good version",
    };
    Some(Problem {
        kind: "Secret",
        namespace: secret.metadata.namespace.clone().unwrap_or_default(),
        name: secret.metadata.name.clone().unwrap_or_default(),
        field: field.to_owned(),
        message: format!("{message}: {consequence}"),
        remedy: "store a PEM certificate chain as tls.crt and its PEM private key as tls.key"
            .to_owned(),
    })
}
