//! The texts that make an authority, wherever they are kept.

use std::time::SystemTime;

use mesh_identity::TrustDomain;
use rcgen::{BasicConstraints, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

use super::sign::MAX_BACKDATE;
use super::{AuthorityError, ROOT_TTL, base_params};

/// Where the authority comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A root made on the first start and kept since.
    SelfSigned,
    /// Certificates and key that the operator provided.
    PluggedIn,
}

/// The texts that make an authority.
pub(crate) struct Material {
    pub(crate) origin: Origin,
    pub(crate) certificate: Part,
    pub(crate) key: Part,
    /// `cert-chain.pem`: intermediates, the signing one included; empty for a root.
    pub(crate) chain: Part,
    pub(crate) root: Part,
}

/// One text, and where it is kept: a file, or a key of a Secret.
pub(crate) struct Part {
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Part {
    pub(super) fn unusable(&self, reason: String) -> AuthorityError {
        AuthorityError::Unusable {
            place: self.place.clone(),
            reason,
        }
    }
}

/// A new root certificate and its key, PEM each.
pub(crate) fn make_root(
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = base_params(now - MAX_BACKDATE, now + ROOT_TTL);
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, key.serialize_pem()))
}
