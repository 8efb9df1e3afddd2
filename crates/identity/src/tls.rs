//! rustls configurations for the mesh's mutual TLS and for plain web TLS.
//!
//! Build a configuration once per certificate and share the `Arc`: building costs about
//! 25 us, a clone 30 ns. Sessions are never resumed, because a resumed session skips the
//! verifier and so would outlive a rotation; therefore no ticket is sent and none is stored.
//!
//! The provider is aws-lc-rs and is always passed explicitly.

mod verify;
pub mod web;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use crate::{SpiffeIdSet, WorkloadCertificate};

pub use verify::{describe, peer_error};

/// ALPN of HTTP/1.1 between proxies of the mesh.
pub const ALPN_ISTIO_HTTP11: &[u8] = b"istio-http/1.1";
/// ALPN of HTTP/1.0 between proxies of the mesh.
pub const ALPN_ISTIO_HTTP10: &[u8] = b"istio-http/1.0";
/// ALPN of HTTP/2 between proxies of the mesh.
pub const ALPN_ISTIO_H2: &[u8] = b"istio-h2";
/// ALPN of opaque TCP between proxies of the mesh.
pub const ALPN_ISTIO: &[u8] = b"istio";
/// ALPN of HTTP/2.
pub const ALPN_H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1.
pub const ALPN_HTTP11: &[u8] = b"http/1.1";

/// Whether a server insists on a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// No certificate: the handshake fails.
    Required,
    /// A certificate is asked for and checked if there is one.
    Optional,
}

/// Why a configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the parts.
    #[error("build a TLS configuration")]
    Build(#[from] rustls::Error),
    /// Certificate or key are unusable.
    #[error("certificate for a TLS configuration is unusable")]
    Certificate(#[from] crate::CertificateError),
    /// The private key is unusable.
    #[error("key for a TLS configuration is unusable")]
    Key(#[from] crate::key::KeyError),
    /// Root certificates are unusable.
    #[error("root certificates for a TLS configuration are unusable: {reason}")]
    Roots {
        /// What is wrong with them.
        reason: String,
    },
}

/// The crypto provider of the whole project.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Server side of mutual TLS: presents `certificate`, checks the client's chain against its
/// bundle at the handshake's time, then the client's id against `allowed` (empty: any id of
/// a trust domain that the bundle knows).
///
/// `alpn`: protocols in order of preference; empty means none is negotiated.
///
/// # Errors
/// [`TlsError::Build`] if rustls refuses the parts.
pub fn server_config(
    certificate: &WorkloadCertificate,
    client: ClientAuth,
    allowed: &SpiffeIdSet,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = verify::MeshVerifier::new(certificate.bundle().clone(), allowed.clone(), client);
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.certified())));
    Ok(Arc::new(finish_server(config, alpn)))
}

/// Client side of mutual TLS: presents `certificate`, checks the server's chain against its
/// bundle at the handshake's time, then the server's id against `expected` (empty: any id of
/// a trust domain that the bundle knows). The name of the handshake's SNI is not checked.
///
/// `alpn`: protocols offered, in order of preference.
///
/// # Errors
/// [`TlsError::Build`] if rustls refuses the parts.
pub fn client_config(
    certificate: &WorkloadCertificate,
    expected: &SpiffeIdSet,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = verify::MeshVerifier::new(
        certificate.bundle().clone(),
        expected.clone(),
        ClientAuth::Required,
    );
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.certified())));
    Ok(Arc::new(finish_client(config, alpn)))
}

fn finish_server(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

fn finish_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

#[cfg(test)]
mod tests;
