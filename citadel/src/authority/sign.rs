//! Signing: workloads' CSRs and the control plane's own certificates.

use std::time::{Duration, SystemTime};

use mesh_identity::certificate::CertificateInfo;
use mesh_identity::{PrivateKey, SpiffeId};
use rcgen::string::Ia5String;
use rcgen::{
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SubjectPublicKeyInfo,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

use super::{Authority, Signer, base_params};

/// Longest back-dating, against clocks that run late: 2 minutes, as in Istio.
pub(super) const MAX_BACKDATE: Duration = Duration::from_secs(120);
/// Largest CSR in bytes; one of an RSA 4096 key has 1,800.
const MAX_CSR_BYTES: usize = 64 * 1024;
/// Smallest RSA key in bits that verifiers accept.
const MIN_RSA_BITS: usize = 2048;

/// A certificate that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// PEM, one certificate each: leaf, intermediates, without the root.
    pub chain: Vec<String>,
    /// Serial number and validity of the leaf.
    pub info: CertificateInfo,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The request is no usable CSR.
    #[error("certificate signing request is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// The request is not signed by the key it contains.
    #[error("certificate signing request is not signed by its own key")]
    NoPossession,
    /// The request's key is of an unknown kind or too short.
    #[error("key of the certificate signing request is refused: {reason}")]
    WeakKey {
        /// What is wrong.
        reason: String,
    },
    /// The request names another identity than the caller's.
    #[error("certificate signing request names {requested}, but the caller is {caller}")]
    OtherIdentity {
        /// The URI in the request.
        requested: String,
        /// The verified identity.
        caller: SpiffeId,
    },
    /// The authority's own certificate has run out.
    #[error("the certificate authority's own certificate has expired")]
    AuthorityExpired,
    /// The certificate could not be built.
    #[error("build the certificate: {reason}")]
    Build {
        /// What went wrong.
        reason: String,
    },
}

impl Authority {
    /// Signs a workload's CSR for `id`, the identity of the verified caller.
    ///
    /// `ttl`: validity from `now`; zero means the default, and it is shortened to the
    /// configured maximum and the authority's own end. Subject, usages and names of the request are
    /// not taken over; a URI name other than `id` is refused.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        let key = checked_key(csr_pem, id)?;
        self.signer.sign_key(&key, id, ttl, now)
    }

    /// Makes a key and a server certificate for DNS names: the control plane's own.
    ///
    /// # Errors
    /// [`SignError`] if a name is not ASCII or the authority has expired.
    pub fn server_certificate(
        &self,
        names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<(Issued, PrivateKey), SignError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(build)?;
        let sans = names
            .iter()
            .map(|name| {
                Ia5String::try_from(name.as_str())
                    .map(SanType::DnsName)
                    .map_err(build)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let issued = self.signer.issue(
            &key,
            sans,
            vec![ExtendedKeyUsagePurpose::ServerAuth],
            ttl,
            now,
        )?;
        Ok((issued, PrivateKey::from_pkcs8_der(key.serialize_der())))
    }
}

impl Signer {
    pub(super) fn sign_key(
        &self,
        key: &impl PublicKeyData,
        id: &SpiffeId,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        let uri = Ia5String::try_from(id.as_str()).map_err(build)?;
        let usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(key, vec![SanType::URI(uri)], usages, ttl, now)
    }

    fn issue(
        &self,
        key: &impl PublicKeyData,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        let (not_before, not_after) = self.validity(ttl, now)?;
        let mut params = base_params(not_before, not_after);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(key, &self.issuer).map_err(build)?;
        let info = CertificateInfo::from_der(leaf.der())?;
        let mut chain = vec![leaf.pem()];
        chain.extend(self.intermediates.iter().cloned());
        Ok(Issued { chain, info })
    }

    /// Start and end of a certificate.
    ///
    /// The back-dating is at most a tenth of the life: half of a one-minute certificate's
    /// validity must still lie ahead when it is issued.
    fn validity(
        &self,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<(SystemTime, SystemTime), SignError> {
        let ttl = if ttl.is_zero() {
            self.options.default_ttl
        } else {
            ttl
        };
        let ttl = ttl.min(self.options.max_ttl);
        let not_after = (now + ttl).min(self.info.not_after);
        if not_after <= now {
            return Err(SignError::AuthorityExpired);
        }
        let not_before = (now - MAX_BACKDATE.min(ttl / 10)).max(self.info.not_before);
        Ok((not_before, not_after))
    }
}

/// Checks a CSR and takes its public key out.
fn checked_key(csr_pem: &str, id: &SpiffeId) -> Result<SubjectPublicKeyInfo, SignError> {
    let damaged = |reason: String| SignError::Damaged { reason };
    if csr_pem.len() > MAX_CSR_BYTES {
        return Err(damaged(format!(
            "{} bytes are more than {MAX_CSR_BYTES}",
            csr_pem.len()
        )));
    }
    let (_, pem) =
        parse_x509_pem(csr_pem.as_bytes()).map_err(|error| damaged(error.to_string()))?;
    let (rest, csr) = X509CertificationRequest::from_der(&pem.contents)
        .map_err(|error| damaged(error.to_string()))?;
    if !rest.is_empty() {
        return Err(damaged("bytes follow it".to_owned()));
    }
    csr.verify_signature()
        .map_err(|_| SignError::NoPossession)?;
    let requested = csr.requested_extensions().into_iter().flatten();
    for extension in requested {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::URI(uri) if *uri != id.as_str() => {
                    return Err(SignError::OtherIdentity {
                        requested: (*uri).to_owned(),
                        caller: id.clone(),
                    });
                }
                _ => {}
            }
        }
    }
    let spki = &csr.certification_request_info.subject_pki;
    if let Ok(PublicKey::RSA(rsa)) = spki.parsed()
        && rsa.key_size() < MIN_RSA_BITS
    {
        return Err(SignError::WeakKey {
            reason: format!("RSA with {} bits, use 2048 or more", rsa.key_size()),
        });
    }
    SubjectPublicKeyInfo::from_der(spki.raw).map_err(|error| SignError::WeakKey {
        reason: error.to_string(),
    })
}

fn build(error: rcgen::Error) -> SignError {
    SignError::Build {
        reason: error.to_string(),
    }
}
