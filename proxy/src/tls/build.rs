//! Makes rustls configurations of what xDS says. Cold: once per certificate and settings.

use std::sync::Arc;

use mesh_identity::certificate::CertificateInfo;
use mesh_identity::tls::web::{self, Credentials, Names, ServerTrust, Versions};
use mesh_identity::tls::{self as mesh, ClientAuth, TlsError};
use mesh_identity::{SpiffeId, SpiffeIdError, SpiffeIdSet, WorkloadCertificate};
use mesh_route::tls::{
    Material, Source, TRUST_BUNDLE, TlsCommon, TlsVersion, WORKLOAD_CERTIFICATE,
};
use mesh_route::{DownstreamTls, Secret, UpstreamTls};
use rustls::{ClientConfig, ServerConfig};
use sha2::{Digest as _, Sha256};

use super::{Materials, Offer};
use crate::tcp::exchange;

/// Why a TLS configuration can't be had now.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The workload certificate has not come yet.
    #[error("workload certificate is not there yet (is the CA reachable?)")]
    NoWorkloadCertificate,
    /// An SDS secret has not come yet, or is of the wrong kind.
    #[error("secret {name} is not there yet or of the wrong kind")]
    NoSecret {
        /// Its name.
        name: String,
    },
    /// A file that a resource names can't be read.
    #[error("read {path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A SPIFFE id that the configuration expects is damaged.
    #[error("expected identity is no SPIFFE id")]
    Identity(#[from] SpiffeIdError),
    /// rustls or the PEM reader refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Which ALPN list a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    Configured,
    None,
}

/// Protocols that sidecars of ours and of Istio offer, best first. Added to what the
/// configuration lists: it decides by filter chain, not here, what is served. Only chains of opaque
/// bytes list `istio-peer-exchange`, after which a frame comes first.
const MESH_ALPN: [&[u8]; 6] = [
    mesh::ALPN_ISTIO_H2,
    mesh::ALPN_ISTIO_HTTP11,
    mesh::ALPN_ISTIO_HTTP10,
    mesh::ALPN_ISTIO,
    mesh::ALPN_H2,
    mesh::ALPN_HTTP11,
];

/// Whether certificate or roots are those of the CSR flow.
pub(super) fn uses_workload(common: &TlsCommon) -> bool {
    let is =
        |source: &Source, wanted: &str| matches!(source, Source::Secret(name) if &**name == wanted);
    common
        .certificates
        .iter()
        .any(|source| is(source, WORKLOAD_CERTIFICATE))
        || common
            .peer
            .roots
            .as_ref()
            .is_some_and(|source| is(source, TRUST_BUNDLE))
}

pub(super) fn server(
    settings: &DownstreamTls,
    materials: &Materials,
    alpn: Alpn,
) -> Result<Arc<ServerConfig>, CredentialsError> {
    let common = &settings.common;
    let auth = if settings.require_client_certificate {
        ClientAuth::Required
    } else {
        ClientAuth::Optional
    };
    let mut offered: Vec<&[u8]> = common.alpn.iter().map(|name| name.as_bytes()).collect();
    if common.is_mesh() {
        offered.extend(
            MESH_ALPN
                .iter()
                .filter(|name| !common.alpn.iter().any(|a| a.as_bytes() == **name)),
        );
    }
    if alpn == Alpn::None {
        offered.clear();
    }
    if common.is_mesh() {
        let certificate = workload(materials)?;
        return Ok(mesh::server_config(
            certificate,
            auth,
            &expected_ids(common)?,
            &offered,
        )?);
    }
    let pair = Pair::load(common, materials)?;
    let roots = match &common.peer.roots {
        Some(source) => Some(roots(source, materials)?),
        None => None,
    };
    let clients = roots.as_deref().map(|pem| (pem, auth));
    Ok(web::server_config(
        pair.credentials(),
        clients,
        versions(common),
        &offered,
    )?)
}

pub(super) fn client(
    settings: &UpstreamTls,
    materials: &Materials,
    offer: Offer,
) -> Result<Arc<ClientConfig>, CredentialsError> {
    let common = &settings.common;
    let offered = client_alpn(settings, offer);
    let offered: Vec<&[u8]> = offered.iter().map(|name| name.as_ref()).collect();
    if common.is_mesh() {
        let certificate = workload(materials)?;
        return Ok(mesh::client_config(
            certificate,
            &expected_ids(common)?,
            &offered,
        )?);
    }
    let pair = if common.certificates.is_empty() {
        None
    } else {
        Some(Pair::load(common, materials)?)
    };
    let trust = match &common.peer.roots {
        None => ServerTrust::Unchecked,
        Some(source) => ServerTrust::Roots {
            pem: roots(source, materials)?.into(),
            names: names(settings),
        },
    };
    let credentials = pair.as_ref().map(Pair::credentials);
    Ok(web::client_config(
        &trust,
        credentials,
        versions(common),
        &offered,
    )?)
}

/// What we offer follows what we will speak; a configured list narrows it for web TLS.
fn client_alpn(settings: &UpstreamTls, offer: Offer) -> Vec<Vec<u8>> {
    let list = |names: &[&[u8]]| names.iter().map(|name| name.to_vec()).collect();
    if settings.istio_alpn() {
        return match offer {
            Offer::Http1 => list(&[mesh::ALPN_ISTIO_HTTP11]),
            Offer::Http2 => list(&[mesh::ALPN_ISTIO_H2]),
            Offer::Negotiated => list(&[mesh::ALPN_ISTIO_H2, mesh::ALPN_ISTIO_HTTP11]),
            Offer::Tcp => list(&[exchange::ALPN, mesh::ALPN_ISTIO]),
        };
    }
    let configured = settings
        .common
        .alpn
        .iter()
        .map(|name| name.as_bytes().to_vec());
    match offer {
        Offer::Tcp => configured.collect(),
        Offer::Http1 => configured.filter(|name| name != mesh::ALPN_H2).collect(),
        Offer::Http2 => list(&[mesh::ALPN_H2]),
        Offer::Negotiated if settings.common.alpn.is_empty() => {
            list(&[mesh::ALPN_H2, mesh::ALPN_HTTP11])
        }
        Offer::Negotiated => configured.collect(),
    }
}

fn workload(materials: &Materials) -> Result<&WorkloadCertificate, CredentialsError> {
    materials
        .workload
        .as_ref()
        .map(|tls| &tls.certificate)
        .ok_or(CredentialsError::NoWorkloadCertificate)
}

fn expected_ids(common: &TlsCommon) -> Result<SpiffeIdSet, CredentialsError> {
    // Other matchers are asked after the handshake: `accepts_peer`.
    let exact = common.peer.exact_uris().unwrap_or_default();
    let ids: Result<Vec<SpiffeId>, SpiffeIdError> = exact.iter().map(|uri| uri.parse()).collect();
    Ok(ids?.into_iter().collect())
}

fn names(settings: &UpstreamTls) -> Names {
    let matchers = &settings.common.peer.names;
    if matchers.is_empty() && settings.auto_san_validation {
        return Names::OfHandshake;
    }
    let exact = matchers
        .iter()
        .map(|name| name.matcher.as_exact().map(str::to_owned));
    match exact.collect::<Option<Vec<String>>>() {
        Some(exact) if !exact.is_empty() => Names::AnyOf(exact.into()),
        // Other matchers are asked after the handshake: `accepts_peer`.
        _ => Names::Any,
    }
}

/// Asks what rustls' verifiers can't: patterns of names, and hashes of certificates.
///
/// # Errors
/// The peer's names and what was expected, for logs.
pub fn accepts_peer(common: &TlsCommon, leaf: Option<&[u8]>) -> Result<(), String> {
    let peer = &common.peer;
    let by_pattern = peer
        .names
        .iter()
        .any(|name| name.matcher.as_exact().is_none());
    if !by_pattern && peer.certificate_hashes.is_empty() {
        return Ok(());
    }
    // Whether a certificate is demanded at all was decided in the handshake.
    let Some(leaf) = leaf else { return Ok(()) };
    let found = CertificateInfo::from_der(leaf)
        .map_err(|error| error.to_string())?
        .names;
    let (uris, dns): (Vec<&str>, Vec<&str>) = found
        .iter()
        .map(String::as_str)
        .partition(|name| name.contains("://"));
    if by_pattern && !peer.accepts(&uris, &dns) {
        return Err(format!(
            "peer presented {found:?}, expected one that matches {:?}",
            peer.names
        ));
    }
    if !peer.certificate_hashes.is_empty() {
        let hash: String = Sha256::digest(leaf)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if !peer
            .certificate_hashes
            .iter()
            .any(|wanted| **wanted == *hash)
        {
            return Err(format!(
                "peer presented a certificate with hash {hash}, which is not pinned"
            ));
        }
    }
    Ok(())
}

fn versions(common: &TlsCommon) -> Versions {
    match (common.min_version, common.max_version) {
        (TlsVersion::V1_3, _) => Versions::Tls13,
        (TlsVersion::V1_2, TlsVersion::V1_2) => Versions::Tls12,
        (TlsVersion::V1_2, TlsVersion::V1_3) => Versions::Tls12Up,
    }
}

struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn load(common: &TlsCommon, materials: &Materials) -> Result<Self, CredentialsError> {
        match materials.certificate.as_deref() {
            Some(Secret::Certificate { chain, key }) => Ok(Self {
                chain: read(chain)?,
                key: read(key)?,
            }),
            _ => Err(missing(common.certificates.first())),
        }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            chain_pem: &self.chain,
            key_pem: &self.key,
        }
    }
}

/// Where distributions keep the system's roots; the first that exists is read.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

fn roots(source: &Source, materials: &Materials) -> Result<Vec<u8>, CredentialsError> {
    match materials.roots.as_deref() {
        Some(Secret::Roots {
            bundle: Some(bundle),
            revoked: None,
        }) => read(bundle),
        Some(Secret::SystemRoots) => {
            let found = SYSTEM_ROOTS
                .iter()
                .find(|path| std::path::Path::new(path).exists());
            read(&Material::File(Arc::from(
                *found.unwrap_or(&SYSTEM_ROOTS[0]),
            )))
        }
        _ => Err(missing(Some(source))),
    }
}

fn missing(source: Option<&Source>) -> CredentialsError {
    let name = match source {
        Some(Source::Secret(name)) => name.to_string(),
        _ => "written in the resource".to_owned(),
    };
    CredentialsError::NoSecret { name }
}

fn read(material: &Material) -> Result<Vec<u8>, CredentialsError> {
    match material {
        Material::Pem(bytes) => Ok(bytes.to_vec()),
        Material::File(path) => std::fs::read(&**path).map_err(|error| CredentialsError::File {
            path: path.to_string(),
            reason: error.to_string(),
        }),
    }
}
