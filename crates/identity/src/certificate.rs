//! A workload's certificate: chain, key and the roots it trusts.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::BundleError;
use crate::peer::{self, PeerError};
use crate::{PrivateKey, SpiffeId, TrustBundle, tls};

/// Why PEM text is no workload certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is no PEM or has no certificate.
    #[error("read certificate chain from PEM: {reason}")]
    Chain {
        /// What the parser said.
        reason: String,
    },
    /// The leaf names no SPIFFE id.
    #[error("certificate is not a workload's")]
    Identity(#[source] PeerError),
    /// The key does not belong to the leaf, or is of an unknown kind.
    #[error("private key does not fit the certificate: {reason}")]
    Key {
        /// What rustls said.
        reason: String,
    },
    /// The roots are unusable.
    #[error("trust bundle is unusable")]
    Bundle(#[from] BundleError),
}

/// What stands in a certificate, for logs, `/certs` and refresh times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Serial number in lower-case hexadecimal without separators.
    pub serial: String,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// DNS, URI and IP names of the subject alternative name, as written there.
    pub names: Vec<String>,
}

impl CertificateInfo {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Chain`] if it is no X.509 certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| CertificateError::Chain {
                reason: error.to_string(),
            })?;
        let names = parsed
            .subject_alternative_name()
            .ok()
            .flatten()
            .map_or_else(Vec::new, |extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .map(general_name)
                    .collect()
            });
        Ok(Self {
            serial: parsed
                .raw_serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_before: time_of(parsed.validity().not_before.timestamp()),
            not_after: time_of(parsed.validity().not_after.timestamp()),
            names,
        })
    }
}

fn general_name(name: &x509_parser::extensions::GeneralName<'_>) -> String {
    use x509_parser::extensions::GeneralName::{DNSName, IPAddress, URI};
    match name {
        DNSName(text) | URI(text) => (*text).to_owned(),
        IPAddress(bytes) => ip_text(bytes),
        other => other.to_string(),
    }
}

fn ip_text(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => std::net::Ipv6Addr::from(v6).to_string(),
        Err(_) => format!("{bytes:02x?}"),
    }
}

fn time_of(unix_seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

/// A workload's certificate with its key and trust bundle, checked and ready for rustls.
/// Cheap to clone.
#[derive(Clone)]
pub struct WorkloadCertificate {
    certified: Arc<CertifiedKey>,
    bundle: TrustBundle,
    id: SpiffeId,
    info: Arc<CertificateInfo>,
}

impl WorkloadCertificate {
    /// Builds a certificate from PEM texts.
    ///
    /// `chain`: leaf first, then intermediates; `roots`: the trust bundle of the leaf's own
    /// trust domain.
    ///
    /// # Errors
    /// [`CertificateError`] if a text is damaged, the leaf has no SPIFFE id, or the key is not
    /// the leaf's.
    pub fn from_pem(
        chain: &[u8],
        key: &PrivateKey,
        roots: &[u8],
    ) -> Result<Self, CertificateError> {
        let certified = certified_key(chain, key)?;
        let leaf = &certified.cert[0];
        let id = peer::identity(std::slice::from_ref(leaf)).map_err(CertificateError::Identity)?;
        let info = CertificateInfo::from_der(leaf)?;
        let bundle = TrustBundle::from_pem(&id.trust_domain(), roots)?;
        Ok(Self {
            certified: Arc::new(certified),
            bundle,
            id,
            info: Arc::new(info),
        })
    }

    /// The same certificate with another trust bundle, after the roots have changed.
    #[must_use]
    pub fn with_bundle(&self, bundle: TrustBundle) -> Self {
        Self {
            bundle,
            ..self.clone()
        }
    }

    /// The SPIFFE id of the leaf.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Serial number in lower-case hexadecimal.
    pub fn serial(&self) -> &str {
        &self.info.serial
    }

    /// Start of validity.
    pub fn not_before(&self) -> SystemTime {
        self.info.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> SystemTime {
        self.info.not_after
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The roots against which peers are checked.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("id", &self.id)
            .field("serial", &self.info.serial)
            .field("not_after", &self.info.not_after)
            .finish_non_exhaustive()
    }
}

/// Reads a chain (at least one certificate) and joins it with its key.
pub(crate) fn certified_key(
    chain: &[u8],
    key: &PrivateKey,
) -> Result<CertifiedKey, CertificateError> {
    let certificates = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Chain {
            reason: error.to_string(),
        })?;
    if certificates.is_empty() {
        return Err(CertificateError::Chain {
            reason: "no PEM block CERTIFICATE in it".to_owned(),
        });
    }
    CertifiedKey::from_der(certificates, key.to_der(), &tls::provider()).map_err(|error| {
        CertificateError::Key {
            reason: error.to_string(),
        }
    })
}

/// A certificate in PEM, lines of 64 characters.
pub fn to_pem(der: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::with_capacity(encoded.len() * 65 / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests;
