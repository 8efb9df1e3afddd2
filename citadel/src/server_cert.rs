//! The control plane's own TLS certificate, renewed while it is used.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_identity::certificate::CertificateInfo;
use mesh_identity::refresh::refresh_at;
use mesh_identity::tls::web::{self, Versions};
use mesh_identity::tls::{self, TlsError};
use mesh_telemetry::metrics::Registry;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::authority::{Authority, SignError};
use crate::live::Live;

/// Validity of the control plane's certificate.
const TTL: Duration = Duration::from_secs(24 * 3600);

/// The DNS names by which workloads and webhooks know the control plane: its service in
/// `namespace`, with and without the cluster domain, and the short names.
pub fn control_plane_names(service: &str, namespace: &str, cluster_domain: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{cluster_domain}"),
        format!("{service}.{namespace}"),
        service.to_owned(),
        "localhost".to_owned(),
    ]
}

/// A TLS configuration for the control plane's secure port (ALPN `h2`): its certificate is
/// signed by the authority, and again at the first handshake after half of its life or after
/// the authority was exchanged. It is kept in memory only: there is no file or Secret to lose.
///
/// # Errors
/// [`TlsError`] if rustls refuses the parts; [`SignError`] inside it if the first
/// certificate cannot be signed.
pub fn server_config(
    authority: Live,
    names: Vec<String>,
    registry: &Registry,
) -> Result<Arc<ServerConfig>, ServerCertError> {
    let resolver = Renewing {
        current: Mutex::new(make(&authority.current(), &names)?),
        authority,
        names,
    };
    let resolver = Arc::new(resolver);
    let expiring = Arc::clone(&resolver);
    registry.collector(move |encoder| {
        const NAME: &str = "citadel_server_cert_expiry_timestamp";
        let expiry = expiring
            .current
            .lock()
            .info
            .not_after
            .duration_since(SystemTime::UNIX_EPOCH);
        encoder.family(
            NAME,
            "Unix time at which the control plane's own certificate expires.",
            mesh_telemetry::metrics::Kind::Gauge,
        );
        encoder.sample(
            NAME,
            &[],
            expiry.map_or(0.0, |since| since.as_secs_f64().floor()),
        );
    });
    Ok(web::server_config_with_resolver(
        resolver,
        Versions::Tls12Up,
        &[tls::ALPN_H2],
    )?)
}

/// Why the control plane has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerCertError {
    /// It could not be signed.
    #[error("sign the control plane's own certificate")]
    Sign(#[from] SignError),
    /// It could not be used.
    #[error("use the control plane's own certificate")]
    Tls(#[from] TlsError),
    /// It could not be read back.
    #[error("read the control plane's own certificate: {reason}")]
    Read {
        /// What went wrong.
        reason: String,
    },
}

struct Current {
    key: Arc<CertifiedKey>,
    info: CertificateInfo,
    /// The signing certificate.
    signed_by: CertificateDer<'static>,
}

struct Renewing {
    authority: Live,
    names: Vec<String>,
    current: Mutex<Current>,
}

impl ResolvesServerCert for Renewing {
    /// Signing takes about 100 us, twice a day: cheaper than a task of its own, and a clock
    /// that jumps cannot make it miss.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let authority = self.authority.current();
        let mut current = self.current.lock();
        let aged =
            SystemTime::now() >= refresh_at(current.info.not_before, current.info.not_after, 0.0);
        if aged || current.signed_by != *authority.certificate() {
            match make(&authority, &self.names) {
                Ok(renewed) => *current = renewed,
                Err(error) => {
                    tracing::error!(%error, "the control plane's certificate cannot be renewed")
                }
            }
        }
        Some(Arc::clone(&current.key))
    }
}

impl std::fmt::Debug for Renewing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewing")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

fn make(authority: &Authority, names: &[String]) -> Result<Current, ServerCertError> {
    let (issued, key) = authority.server_certificate(names, TTL, SystemTime::now())?;
    let read = |reason: String| ServerCertError::Read { reason };
    let chain = issued
        .chain
        .iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| read(error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key.to_der(), &tls::provider())
        .map_err(|error| read(error.to_string()))?;
    Ok(Current {
        key: Arc::new(key),
        info: issued.info,
        signed_by: authority.certificate().clone(),
    })
}
