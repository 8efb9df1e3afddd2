//! Plain web TLS: a gateway's server side and the origination of SIMPLE or MUTUAL TLS
//! towards hosts outside the mesh.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::KeyUsage;

use super::{ClientAuth, TlsError, finish_client, finish_server, provider};
use crate::PrivateKey;
use crate::certificate::certified_key;

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Chain, leaf first.
    pub chain_pem: &'a [u8],
    /// Private key of the leaf.
    pub key_pem: &'a [u8],
}

/// Which TLS versions a configuration speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    Tls12Up,
    /// 1.3 only.
    Tls13,
    /// 1.2 only.
    Tls12,
}

static TLS12_UP: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];
static ONLY_TLS12: [&SupportedProtocolVersion; 1] = [&TLS12];

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12Up => &TLS12_UP,
            Self::Tls13 => &ONLY_TLS13,
            Self::Tls12 => &ONLY_TLS12,
        }
    }
}

/// How an originating client checks the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerTrust {
    /// The chain must lead to one of these roots (PEM), and the leaf must fit `names`.
    Roots {
        /// Root certificates in PEM.
        pem: Arc<[u8]>,
        /// Which names the leaf must carry.
        names: Names,
    },
    /// Nothing is checked (`insecureSkipVerify`, or no validation context as in Envoy).
    Unchecked,
}

/// Which names a server's certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Names {
    /// The name that the handshake was started with.
    OfHandshake,
    /// Any of these DNS names or URIs (`subjectAltNames`).
    AnyOf(Arc<[String]>),
    /// Any name at all, once the chain is trusted.
    Any,
}

/// A server configuration from PEM texts, for gateways.
///
/// `clients`: roots (PEM) for client certificates and whether one is demanded; `None` asks for none.
///
/// # Errors
/// [`TlsError`] if a text is damaged, the key does not fit, or rustls refuses the parts.
pub fn server_config(
    credentials: Credentials<'_>,
    clients: Option<(&[u8], ClientAuth)>,
    versions: Versions,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let key = PrivateKey::from_pem(credentials.key_pem)?;
    let certified = certified_key(credentials.chain_pem, &key)?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions.list())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((roots, auth)) => {
            let mut verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(root_store(roots)?),
                provider(),
            );
            if auth == ClientAuth::Optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|error| TlsError::Roots {
                reason: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(certified))));
    Ok(Arc::new(finish_server(config, alpn)))
}

/// A client configuration for TLS origination, and for our own connections to the control plane.
///
/// `credentials`: the client certificate for MUTUAL. `alpn`: protocols offered, in order.
///
/// # Errors
/// [`TlsError`] if a text is damaged, the key does not fit, or rustls refuses the parts.
pub fn client_config(
    trust: &ServerTrust,
    credentials: Option<Credentials<'_>>,
    versions: Versions,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = WebVerifier::new(trust)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let key = PrivateKey::from_pem(credentials.key_pem)?;
            let certified = certified_key(credentials.chain_pem, &key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(certified))))
        }
    };
    Ok(Arc::new(finish_client(config, alpn)))
}

/// A server configuration whose certificate is looked up at each handshake, so that it can be
/// renewed without a new configuration. Asks clients for no certificate.
///
/// # Errors
/// [`TlsError::Build`] if rustls refuses the parts.
pub fn server_config_with_resolver(
    certificates: Arc<dyn ResolvesServerCert>,
    versions: Versions,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    Ok(Arc::new(finish_server(config, alpn)))
}

/// The certificates of a PEM text; those that are damaged are left out. For status pages.
pub fn certificates_of(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Roots {
            reason: error.to_string(),
        })?;
    if list.is_empty() {
        return Err(TlsError::Roots {
            reason: "no PEM block CERTIFICATE in them".to_owned(),
        });
    }
    Ok(list)
}

fn root_store(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|error| TlsError::Roots {
            reason: error.to_string(),
        })?;
    }
    Ok(store)
}

#[derive(Debug)]
struct WebVerifier {
    check: Option<(Vec<TrustAnchor<'static>>, Names)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl WebVerifier {
    fn new(trust: &ServerTrust) -> Result<Self, TlsError> {
        let check = match trust {
            ServerTrust::Unchecked => None,
            ServerTrust::Roots { pem, names } => {
                let anchors = certificates(pem)?
                    .iter()
                    .map(|certificate| {
                        webpki::anchor_from_trusted_cert(certificate)
                            .map(|anchor| anchor.to_owned())
                    })
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| TlsError::Roots {
                        reason: error.to_string(),
                    })?;
                Some((anchors, names.clone()))
            }
        };
        Ok(Self {
            check,
            algorithms: provider().signature_verification_algorithms,
        })
    }
}

/// A web server's certificate was refused.
#[derive(Debug, thiserror::Error)]
#[error("certificate of {server}: {reason}")]
struct WebPeerError {
    server: String,
    reason: String,
}

impl ServerCertVerifier for WebVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some((anchors, names)) = &self.check else {
            return Ok(ServerCertVerified::assertion());
        };
        let refuse = |reason: String| {
            let error = WebPeerError {
                server: name.to_str().into_owned(),
                reason,
            };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        };
        let parsed =
            webpki::EndEntityCert::try_from(leaf).map_err(|error| refuse(error.to_string()))?;
        parsed
            .verify_for_usage(
                self.algorithms.all,
                anchors,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| refuse(error.to_string()))?;
        let fits = |wanted: &String| {
            parsed.valid_uri_names().any(|uri| uri == wanted)
                || ServerName::try_from(wanted.as_str())
                    .is_ok_and(|wanted| parsed.verify_is_valid_for_subject_name(&wanted).is_ok())
        };
        match names {
            Names::Any => {}
            Names::OfHandshake => {
                parsed
                    .verify_is_valid_for_subject_name(name)
                    .map_err(|error| refuse(error.to_string()))?;
            }
            Names::AnyOf(list) if list.iter().any(fits) => {}
            Names::AnyOf(list) => {
                return Err(refuse(format!("it carries none of the names {list:?}")));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
