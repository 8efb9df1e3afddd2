//! The authority: its certificate and key, and what it signs with them.

mod files;
mod material;
mod sign;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_identity::certificate::{CertificateInfo, to_pem};
use mesh_identity::peer;
use mesh_identity::{CertificateError, TrustBundle, TrustDomain};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use material::Origin;
pub(crate) use material::{Material, Part, make_root};
pub use sign::{Issued, SignError};

/// Validity of a certificate where the request names none. Istio's default.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);
/// Longest validity unless configured otherwise: 90 days, as in Istio.
pub const DEFAULT_MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Lifetime of a root that we make: 10 years, as in Istio.
pub const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Settings of an authority.
#[derive(Debug, Clone)]
pub struct Options {
    /// The trust domain for which it vouches.
    pub trust_domain: TrustDomain,
    /// Validity where a request names none.
    pub default_ttl: Duration,
    /// Longest validity.
    pub max_ttl: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            default_ttl: DEFAULT_TTL,
            max_ttl: DEFAULT_MAX_TTL,
        }
    }
}

/// Why there is no authority. None of these is ever answered with a new root: certificates
/// that the workloads hold would no longer be trusted.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read.
    #[error("read {path} of the certificate authority")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written, for example because the disk is full.
    #[error(
        "write {path} of the certificate authority (the state directory must be writable and have free space)"
    )]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Some but not all plugged-in texts are there.
    #[error(
        "{place} has a plugged-in authority without {missing}: provide ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem (in a Secret also tls.crt, tls.key and ca.crt), or none of them"
    )]
    Incomplete {
        /// The directory or Secret.
        place: String,
        /// The texts that are missing.
        missing: String,
    },
    /// A text is unusable, or the texts do not belong together.
    #[error(
        "{place} of the certificate authority is unusable: {reason} (restore it from a backup; a new root would cut off every workload)"
    )]
    Unusable {
        /// Which file, or which key of which Secret.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// No key or certificate could be generated.
    #[error("generate a root certificate")]
    Generate(#[from] rcgen::Error),
}

/// A certificate authority: what it signs with, and which roots the mesh trusts meanwhile.
/// Signing needs no lock. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    signer: Arc<Signer>,
    root_pem: Arc<str>,
    bundle: TrustBundle,
}

/// A signing certificate and its key.
struct Signer {
    options: Options,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Certificates between a leaf and the root, PEM each; empty for a self-signed root.
    intermediates: Vec<String>,
    info: CertificateInfo,
    origin: Origin,
    /// The roots that came with it, and which of them its certificates lead to.
    roots: Vec<CertificateDer<'static>>,
    anchor: usize,
}

impl Authority {
    /// Loads the authority of `directory`: the plugged-in one if its files are there, else the
    /// self-signed root kept in `citadel-root.pem`, which is made on the first start.
    ///
    /// # Errors
    /// [`AuthorityError`]; a root that is there but unreadable is never replaced.
    pub fn load_or_create(
        directory: &Path,
        options: Options,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let material = match files::plugged_in(directory)? {
            Some(material) => material,
            None => match files::self_signed(directory)? {
                Some(material) => material,
                None => {
                    let created = files::create(directory, &options.trust_domain, now)?;
                    tracing::info!(
                        file = created.certificate.place,
                        "made a new root certificate"
                    );
                    created
                }
            },
        };
        let authority = Self::from_material(&material, options, now)?;
        tracing::info!(
            origin = ?authority.signer.origin,
            serial = authority.signer.info.serial,
            trust_domain = %authority.signer.options.trust_domain,
            "certificate authority is loaded"
        );
        Ok(authority)
    }

    /// An authority of texts that belong together: the key to the certificate, and what they
    /// sign is trusted by the root.
    pub(crate) fn from_material(
        material: &Material,
        options: Options,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let (certificate, issuer) = issuer(&material.certificate, &material.key)?;
        let in_certificate = |reason: String| material.certificate.unusable(reason);
        let info = CertificateInfo::from_der(&certificate)
            .map_err(|error| in_certificate(error.to_string()))?;
        let root_pem = material.root.text.as_str();
        let bundle = TrustBundle::from_pem(&options.trust_domain, root_pem.as_bytes())
            .map_err(|error| material.root.unusable(error.to_string()))?;
        let mut signer = Signer {
            intermediates: split_pem(&material.chain.text)
                .map_err(|reason| material.chain.unusable(reason))?,
            roots: bundle.roots(&options.trust_domain).to_vec(),
            options,
            issuer,
            certificate,
            info,
            origin: material.origin,
            anchor: 0,
        };
        signer.anchor = signer.prove(now).map_err(in_certificate)?;
        Ok(Self {
            signer: Arc::new(signer),
            root_pem: root_pem.into(),
            bundle,
        })
    }

    /// The same authority, while the mesh trusts `roots`.
    ///
    /// # Errors
    /// [`BundleError`] if there is none, or one is no trust anchor.
    pub(crate) fn trusting(
        &self,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, mesh_identity::bundle::BundleError> {
        let pem: String = roots.iter().map(|root| to_pem(root)).collect();
        let bundle = TrustBundle::from_pem(&self.signer.options.trust_domain, pem.as_bytes())?;
        Ok(Self {
            signer: Arc::clone(&self.signer),
            root_pem: pem.into(),
            bundle,
        })
    }

    /// Settings.
    pub fn options(&self) -> &Options {
        &self.signer.options
    }

    /// The root certificates in PEM: what workloads must trust (`istio-ca-root-cert`).
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root certificates for verifiers.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Serial number and validity of the signing certificate.
    pub fn info(&self) -> &CertificateInfo {
        &self.signer.info
    }

    /// End of the root that what it signs leads to.
    pub fn root_not_after(&self) -> SystemTime {
        // It was read when it was proven.
        CertificateInfo::from_der(self.anchor())
            .map_or(SystemTime::UNIX_EPOCH, |root| root.not_after)
    }

    /// Where the authority comes from.
    pub fn origin(&self) -> Origin {
        self.signer.origin
    }

    /// The signing certificate: tells one signer from the next.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.signer.certificate
    }

    /// The roots that came with the signing certificate.
    pub(crate) fn own_roots(&self) -> &[CertificateDer<'static>] {
        &self.signer.roots
    }

    /// The root that what it signs leads to.
    pub(crate) fn anchor(&self) -> &CertificateDer<'static> {
        &self.signer.roots[self.signer.anchor]
    }
}

impl Signer {
    /// Signs a throw-away certificate and checks it against the roots, so that texts that do
    /// not belong together are found now and not by every workload. Returns which root it is.
    fn prove(&self, now: SystemTime) -> Result<usize, String> {
        let domain = &self.options.trust_domain;
        let probe = format!("spiffe://{}/citadel-probe", domain.as_str());
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let id = probe.parse().map_err(|error| format!("{error}"))?;
        let issued = self
            .sign_key(&key, &id, Duration::from_secs(60), now)
            .map_err(|error| error.to_string())?;
        let chain = issued
            .chain
            .iter()
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut refused = String::new();
        for (position, root) in self.roots.iter().enumerate() {
            let alone = TrustBundle::from_pem(domain, to_pem(root).as_bytes())
                .map_err(|error| error.to_string())?;
            match peer::verify(&chain, &alone, UnixTime::since_unix_epoch(since)) {
                Ok(_) => return Ok(position),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(format!(
            "what it signs is not trusted by its root: {refused}"
        ))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("origin", &self.signer.origin)
            .field("serial", &self.signer.info.serial)
            .finish_non_exhaustive()
    }
}

/// Certificate and key, joined.
fn issuer(
    certificate: &Part,
    key: &Part,
) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), AuthorityError> {
    let der = CertificateDer::from_pem_slice(certificate.text.as_bytes())
        .map_err(|error| certificate.unusable(format!("no certificate: {error}")))?;
    let pair = PrivateKeyDer::from_pem_slice(key.text.as_bytes())
        .map_err(|error| key.unusable(format!("no private key: {error}")))?;
    let pair = KeyPair::try_from(&pair)
        .map_err(|error| key.unusable(format!("no private key: {error}")))?;
    check_key_pair(&der, &pair).map_err(|reason| certificate.unusable(reason))?;
    let issuer = Issuer::from_ca_cert_der(&der, pair)
        .map_err(|error| certificate.unusable(error.to_string()))?;
    Ok((der, issuer))
}

fn check_key_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err("the private key does not belong to the certificate".to_owned());
    }
    if !parsed.is_ca() {
        return Err(
            "the certificate is not one of an authority (basic constraints CA:TRUE)".to_owned(),
        );
    }
    Ok(())
}

/// One PEM text per certificate, re-encoded so that comments between them are left behind.
fn split_pem(text: &str) -> Result<Vec<String>, String> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|certificate| {
            certificate
                .map(|der| to_pem(&der))
                .map_err(|error| error.to_string())
        })
        .collect()
}

impl From<CertificateError> for SignError {
    fn from(error: CertificateError) -> Self {
        Self::Build {
            reason: error.to_string(),
        }
    }
}

/// The parameters that every certificate of ours starts from.
fn base_params(not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    // 16 random bytes, the first bit clear: positive, and never the same for a renewed
    // certificate of the same key.
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f;
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    params
}

#[cfg(test)]
mod tests;
