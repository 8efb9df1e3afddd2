//! Trust bundles: which root certificates vouch for which trust domain.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::TrustDomain;

/// Why a bundle could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The text is no PEM.
    #[error("read root certificates of {trust_domain} from PEM: {reason}")]
    Pem {
        /// Whose roots.
        trust_domain: TrustDomain,
        /// What the parser said.
        reason: String,
    },
    /// The text has no certificate.
    #[error("no root certificate for {trust_domain}: expected at least one PEM block CERTIFICATE")]
    Empty {
        /// Whose roots.
        trust_domain: TrustDomain,
    },
    /// A block is no X.509 certificate that can be an anchor.
    #[error("root certificate {position} of {trust_domain} is no usable trust anchor: {reason}")]
    Anchor {
        /// Whose roots.
        trust_domain: TrustDomain,
        /// Its position, from 0.
        position: usize,
        /// What the parser said.
        reason: String,
    },
}

#[derive(Clone)]
struct Roots {
    certificates: Arc<[CertificateDer<'static>]>,
    anchors: Arc<[TrustAnchor<'static>]>,
}

/// Root certificates by trust domain. Cheap to clone.
#[derive(Clone, Default)]
pub struct TrustBundle {
    domains: BTreeMap<TrustDomain, Roots>,
}

impl TrustBundle {
    /// A bundle of one trust domain. `pem`: one or more certificates.
    ///
    /// # Errors
    /// [`BundleError`] as in [`TrustBundle::insert`].
    pub fn from_pem(trust_domain: &TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        bundle.insert(trust_domain, pem)?;
        Ok(bundle)
    }

    /// Sets the roots of a trust domain, for a federated domain or an alias of our own.
    ///
    /// # Errors
    /// [`BundleError`] if `pem` is damaged, empty, or a certificate in it is no trust anchor;
    /// the bundle is then as before.
    pub fn insert(&mut self, trust_domain: &TrustDomain, pem: &[u8]) -> Result<(), BundleError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BundleError::Pem {
                trust_domain: trust_domain.clone(),
                reason: error.to_string(),
            })?;
        if certificates.is_empty() {
            return Err(BundleError::Empty {
                trust_domain: trust_domain.clone(),
            });
        }
        let mut anchors = Vec::with_capacity(certificates.len());
        for (position, certificate) in certificates.iter().enumerate() {
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|error| {
                BundleError::Anchor {
                    trust_domain: trust_domain.clone(),
                    position,
                    reason: error.to_string(),
                }
            })?;
            anchors.push(anchor.to_owned());
        }
        let roots = Roots {
            certificates: certificates.into(),
            anchors: anchors.into(),
        };
        self.domains.insert(trust_domain.clone(), roots);
        Ok(())
    }

    /// The trust domains that the bundle knows, in order.
    pub fn trust_domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.domains.keys()
    }

    /// The root certificates of a trust domain; empty if it is unknown.
    pub fn roots(&self, trust_domain: &TrustDomain) -> &[CertificateDer<'static>] {
        self.domains
            .get(trust_domain)
            .map_or(&[], |roots| &roots.certificates)
    }

    pub(crate) fn anchors(&self, trust_domain: &TrustDomain) -> Option<&[TrustAnchor<'static>]> {
        self.domains.get(trust_domain).map(|roots| &*roots.anchors)
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self
            .domains
            .iter()
            .map(|(domain, roots)| (domain, roots.certificates.len()));
        f.debug_map().entries(counts).finish()
    }
}
