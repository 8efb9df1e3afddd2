//! The authority: its certificate and key, and what it signs with them.

mod files;
mod sign;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mesh_identity::certificate::{CertificateInfo, to_pem};
use mesh_identity::peer::{self, PeerError};
use mesh_identity::{CertificateError, TrustBundle, TrustDomain};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

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
    /// Some but not all plugged-in files are there.
    #[error(
        "{directory} has a plugged-in authority without {missing}: provide ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, or none of them"
    )]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// The files that are missing.
        missing: String,
    },
    /// A file's content is unusable, or the files do not belong together.
    #[error(
        "{path} of the certificate authority is unusable: {reason} (restore it from a backup; a new root would cut off every workload)"
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No key or certificate could be generated.
    #[error("generate a root certificate")]
    Generate(#[from] rcgen::Error),
}

/// A certificate authority. Signing needs no lock.
pub struct Authority {
    options: Options,
    issuer: Issuer<'static, KeyPair>,
    /// Certificates between a leaf and the root, PEM each; empty for a self-signed root.
    intermediates: Vec<String>,
    root_pem: String,
    bundle: TrustBundle,
    info: CertificateInfo,
    origin: Origin,
}

/// Where the authority comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A root made on the first start and kept since.
    SelfSigned,
    /// Files that the operator provided.
    PluggedIn,
}

/// The texts that make an authority.
struct Material {
    origin: Origin,
    /// File to name in errors.
    path: PathBuf,
    certificate: String,
    key: String,
    /// `cert-chain.pem`: intermediates, the signing one included; empty for a root.
    chain: String,
    root: String,
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
                    tracing::info!(file = %created.path.display(), "made a new root certificate");
                    created
                }
            },
        };
        let authority = Self::from_material(material, options, now)?;
        tracing::info!(
            origin = ?authority.origin,
            serial = authority.info.serial,
            trust_domain = %authority.options.trust_domain,
            "certificate authority is loaded"
        );
        Ok(authority)
    }

    fn from_material(
        material: Material,
        options: Options,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let path = material.path.clone();
        let unusable = |reason: String| AuthorityError::Unusable {
            path: path.clone(),
            reason,
        };
        let certificate = CertificateDer::from_pem_slice(material.certificate.as_bytes())
            .map_err(|error| unusable(format!("no certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
            .map_err(|error| unusable(format!("no private key: {error}")))?;
        let key = KeyPair::try_from(&key)
            .map_err(|error| unusable(format!("no private key: {error}")))?;
        check_key_pair(&certificate, &key).map_err(&unusable)?;
        let info =
            CertificateInfo::from_der(&certificate).map_err(|error| unusable(error.to_string()))?;
        let bundle = TrustBundle::from_pem(&options.trust_domain, material.root.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| unusable(error.to_string()))?;
        let authority = Self {
            intermediates: split_pem(&material.chain).map_err(&unusable)?,
            root_pem: material.root,
            options,
            issuer,
            bundle,
            info,
            origin: material.origin,
        };
        authority.prove(now).map_err(unusable)?;
        Ok(authority)
    }

    /// Signs a throw-away certificate and checks it against the root, so that files that do
    /// not belong together are found now and not by every workload.
    fn prove(&self, now: SystemTime) -> Result<(), String> {
        let probe = "spiffe://".to_owned() + self.options.trust_domain.as_str() + "/citadel-probe";
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
        peer::verify(&chain, &self.bundle, UnixTime::since_unix_epoch(since))
            .map(|_| ())
            .map_err(|error: PeerError| {
                format!("what it signs is not trusted by its root: {error}")
            })
    }

    /// Settings.
    pub fn options(&self) -> &Options {
        &self.options
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
        &self.info
    }

    /// Where the authority comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("origin", &self.origin)
            .field("serial", &self.info.serial)
            .finish_non_exhaustive()
    }
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
