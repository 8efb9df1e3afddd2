//! One certificate: key and CSR made here, chain from the authority.

use mesh_identity::bundle::BundleError;
use mesh_identity::csr::{self, CsrError};
use mesh_identity::peer::{self, PeerError};
use mesh_identity::{CertificateError, SpiffeId, WorkloadCertificate};
use mesh_xds::istio::v1::auth::IstioCertificateRequest;
use mesh_xds::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use rustls_pki_types::UnixTime;
use tonic::{Request, Status};

use crate::bootstrap::Bootstrap;
use crate::control::channel::{self, ChannelError};

/// Time limit of one request, connection included.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No key or CSR could be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The authority is not reached.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The authority refused.
    #[error("authority refused ({code:?}): {message}")]
    Refused {
        /// gRPC code.
        code: tonic::Code,
        /// Its words.
        message: String,
    },
    /// The answer took too long.
    #[error("authority did not answer within {TIMEOUT:?}")]
    Timeout,
    /// The answer has fewer than two certificates.
    #[error("authority answered {found} certificates, at least leaf and root are needed")]
    ShortChain {
        /// How many came.
        found: usize,
    },
    /// The answer is no usable certificate.
    #[error("authority answered an unusable certificate")]
    Unusable(#[from] CertificateError),
    /// The answer is for someone else.
    #[error("authority answered a certificate of {found}, asked was one of {asked}")]
    OtherIdentity {
        /// Whose certificate came.
        found: SpiffeId,
        /// Whose was asked for.
        asked: SpiffeId,
    },
    /// The chain is not valid now.
    #[error("authority answered a certificate that is not trusted now (does the clock agree?)")]
    Untrusted(#[from] PeerError),
}

impl From<Status> for RequestError {
    fn from(status: Status) -> Self {
        Self::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

impl From<BundleError> for RequestError {
    fn from(error: BundleError) -> Self {
        Self::Unusable(error.into())
    }
}

/// Gets a certificate for our identity. Nothing is kept between calls: each has a fresh key
/// and connection, and reads token and roots anew.
///
/// # Errors
/// [`RequestError`] that says which step failed.
pub async fn certificate(bootstrap: &Bootstrap) -> Result<WorkloadCertificate, RequestError> {
    match tokio::time::timeout(TIMEOUT, Box::pin(ask(bootstrap))).await {
        Ok(result) => result,
        Err(_) => Err(RequestError::Timeout),
    }
}

async fn ask(bootstrap: &Bootstrap) -> Result<WorkloadCertificate, RequestError> {
    let (key, csr) = csr::generate(&bootstrap.id)?;
    let channel = channel::connect(bootstrap, &bootstrap.authority).await?;
    let mut request = Request::new(IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(bootstrap.certificate_ttl.as_secs()).unwrap_or(i64::MAX),
        ..IstioCertificateRequest::default()
    });
    channel::authorize(bootstrap, &bootstrap.authority, request.metadata_mut())?;
    let chain = IstioCertificateServiceClient::new(channel)
        .create_certificate(request)
        .await?
        .into_inner()
        .cert_chain;
    accept(bootstrap, &key, &chain)
}

fn accept(
    bootstrap: &Bootstrap,
    key: &mesh_identity::PrivateKey,
    chain: &[String],
) -> Result<WorkloadCertificate, RequestError> {
    let (root, chain) = match chain.split_last() {
        Some((root, rest)) if !rest.is_empty() => (root, rest.concat()),
        _ => return Err(RequestError::ShortChain { found: chain.len() }),
    };
    let certificate = WorkloadCertificate::from_pem(chain.as_bytes(), key, root.as_bytes())?;
    if *certificate.id() != bootstrap.id {
        let (found, asked) = (certificate.id().clone(), bootstrap.id.clone());
        return Err(RequestError::OtherIdentity { found, asked });
    }
    peer::verify(certificate.chain(), certificate.bundle(), UnixTime::now())?;
    Ok(certificate)
}
