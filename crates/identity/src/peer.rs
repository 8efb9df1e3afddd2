//! Who a peer is, read from the certificate chain it presented.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use crate::{SpiffeId, SpiffeIdError, SpiffeIdSet, TrustBundle, TrustDomain, tls};

/// Why a peer's certificate gives no acceptable identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer presented no certificate.
    #[error("peer presented no certificate")]
    NoCertificate,
    /// The leaf is no X.509 certificate.
    #[error("peer's certificate is damaged: {reason}")]
    Damaged {
        /// What the parser said.
        reason: String,
    },
    /// The leaf has no URI name, or more than one, so it is no X.509-SVID.
    #[error("peer's certificate has {found} URI names, a SPIFFE certificate has exactly one")]
    NotOneUri {
        /// How many it has.
        found: usize,
    },
    /// The URI name is no SPIFFE id.
    #[error("peer's certificate has a bad SPIFFE id")]
    BadId(#[from] SpiffeIdError),
    /// No root certificate is known for the peer's trust domain.
    #[error("peer {id} is of trust domain {trust_domain}, for which no root certificate is known")]
    UnknownTrustDomain {
        /// Who the peer says it is.
        id: SpiffeId,
        /// Its trust domain.
        trust_domain: TrustDomain,
    },
    /// The chain does not lead to a root of the peer's trust domain, or is out of date.
    #[error("certificate chain of peer {id} is not trusted: {reason}")]
    Untrusted {
        /// Who the peer says it is.
        id: SpiffeId,
        /// What the chain check said.
        reason: String,
    },
    /// The peer is someone, but not one of those we expect.
    #[error("peer presented {found}, expected one of {expected}")]
    Unexpected {
        /// Who it is.
        found: SpiffeId,
        /// Who was expected.
        expected: SpiffeIdSet,
    },
}

/// Reads the SPIFFE id of a presented chain (leaf first). Checks no signature: call it on a
/// chain that a handshake with one of our verifiers has accepted.
///
/// # Errors
/// [`PeerError`] if there is no leaf, it is damaged, or it has not exactly one URI name that is
/// a SPIFFE id.
///
/// Source: X509-SVID.md section 2 (exactly one URI SAN).
pub fn identity(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, PeerError> {
    let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|error| PeerError::Damaged {
        reason: error.to_string(),
    })?;
    let mut names = parsed.valid_uri_names();
    let first = names.next();
    let others = names.count();
    match first {
        Some(uri) if others == 0 => Ok(uri.parse()?),
        Some(_) => Err(PeerError::NotOneUri { found: others + 1 }),
        None => Err(PeerError::NotOneUri { found: 0 }),
    }
}

/// Checks a chain (leaf first) as the handshake of a server with it would be checked, and
/// reads its id. For authorities and workloads that want to know before they use it.
///
/// # Errors
/// [`PeerError`] as in [`identity`], or if the chain does not lead to a root of `bundle` at `now`.
pub fn verify(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: UnixTime,
) -> Result<SpiffeId, PeerError> {
    let (leaf, intermediates) = chain.split_first().ok_or(PeerError::NoCertificate)?;
    check_chain(leaf, intermediates, bundle, KeyUsage::server_auth(), now)
}

pub(crate) fn check_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: KeyUsage,
    now: UnixTime,
) -> Result<SpiffeId, PeerError> {
    let id = identity(std::slice::from_ref(leaf))?;
    let trust_domain = id.trust_domain();
    let Some(anchors) = bundle.anchors(&trust_domain) else {
        return Err(PeerError::UnknownTrustDomain { id, trust_domain });
    };
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|error| PeerError::Damaged {
        reason: error.to_string(),
    })?;
    let algorithms = tls::provider().signature_verification_algorithms;
    parsed
        .verify_for_usage(
            algorithms.all,
            anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map_err(|error| PeerError::Untrusted {
            id: id.clone(),
            reason: error.to_string(),
        })?;
    Ok(id)
}
