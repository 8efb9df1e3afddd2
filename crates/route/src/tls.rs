//! TLS as configured: which certificates and what is expected of the peer. Building the
//! TLS library's objects from it is the proxy's part (crates/identity).

use std::sync::Arc;

use bytes::Bytes;

use crate::strings::StringMatcher;

/// SDS name of the proxy's own workload certificate (CSR flow, never over ADS).
pub const WORKLOAD_CERTIFICATE: &str = "default";
/// SDS name of the mesh's trust bundle (CSR flow, never over ADS).
pub const TRUST_BUNDLE: &str = "ROOTCA";

/// Where a certificate or bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A secret by SDS name: [`WORKLOAD_CERTIFICATE`], [`TRUST_BUNDLE`], or one of
    /// [`crate::Snapshot::secret`].
    Secret(Arc<str>),
    /// Written in the resource, or in files named there.
    Inline(Arc<Secret>),
}

/// PEM text in the resource, or the path of a file with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Material {
    /// PEM.
    Pem(Bytes),
    /// Absolute path; read (and watched) by the proxy.
    File(Arc<str>),
}

/// A compiled SDS secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Secret {
    /// A certificate chain with its key.
    Certificate {
        /// Leaf first.
        chain: Material,
        /// Private key.
        key: Material,
    },
    /// Roots to verify peers with.
    Roots {
        /// PEM bundle; `None`: peers are not verified against roots.
        bundle: Option<Material>,
        /// Revocation list.
        revoked: Option<Material>,
    },
    /// The system's own roots.
    SystemRoots,
}

/// What the peer's certificate must satisfy.
#[derive(Clone, Debug, Default)]
pub struct PeerValidation {
    /// Roots; `None` accepts any certificate.
    pub roots: Option<Source>,
    /// The peer's URI or DNS names: one of them must match one matcher; empty: any name.
    pub names: Vec<NameMatcher>,
    /// Hex SHA-256 of accepted leaf certificates, lowercase without colons; empty: any.
    pub certificate_hashes: Vec<Arc<str>>,
}

impl PeerValidation {
    /// Whether a peer with these URI and DNS names is the expected one (chain not looked at).
    pub fn accepts(&self, uris: &[&str], dns: &[&str]) -> bool {
        self.names.is_empty() || self.names.iter().any(|matcher| matcher.accepts(uris, dns))
    }

    /// The exact SPIFFE ids that are accepted, if all matchers are exact URIs (the mesh's case).
    pub fn exact_uris(&self) -> Option<Vec<&str>> {
        self.names
            .iter()
            .map(|name| match name.kind {
                NameKind::Uri | NameKind::Any => name.matcher.as_exact(),
                NameKind::Dns => None,
            })
            .collect()
    }
}

/// Which kind of subject alternative name a matcher looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// URI names (SPIFFE ids).
    Uri,
    /// DNS names.
    Dns,
    /// Both (the untyped, older field).
    Any,
}

/// One accepted subject alternative name.
#[derive(Clone, Debug)]
pub struct NameMatcher {
    /// Which names.
    pub kind: NameKind,
    /// How they are compared.
    pub matcher: StringMatcher,
}

impl NameMatcher {
    fn accepts(&self, uris: &[&str], dns: &[&str]) -> bool {
        let any = |names: &[&str]| names.iter().any(|name| self.matcher.matches(name));
        match self.kind {
            NameKind::Uri => any(uris),
            NameKind::Dns => any(dns),
            NameKind::Any => any(uris) || any(dns),
        }
    }
}

/// TLS protocol versions, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, the oldest we speak.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What a client asks for and a server offers.
#[derive(Clone, Debug)]
pub struct TlsCommon {
    /// Own certificates, in order of preference; empty: present none.
    pub certificates: Vec<Source>,
    /// What the peer must be.
    pub peer: PeerValidation,
    /// ALPN in order of preference, as configured.
    pub alpn: Vec<Arc<str>>,
    /// Lowest accepted version.
    pub min_version: TlsVersion,
    /// Highest offered version.
    pub max_version: TlsVersion,
}

impl TlsCommon {
    /// Names of the secrets this needs, the proxy's own two included.
    pub fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificates
            .iter()
            .chain(self.peer.roots.as_ref())
            .filter_map(|source| match source {
                Source::Secret(name) => Some(name),
                Source::Inline(_) => None,
            })
    }

    /// Our own certificate is the workload's: this is mesh mTLS.
    pub fn is_mesh(&self) -> bool {
        matches!(self.certificates.first(), Some(Source::Secret(name)) if &**name == WORKLOAD_CERTIFICATE)
    }
}

/// TLS of a filter chain.
#[derive(Clone, Debug)]
pub struct DownstreamTls {
    /// Certificates, peer validation, ALPN, versions.
    pub common: TlsCommon,
    /// Refuse clients without a certificate; if false one is still asked for where roots
    /// are configured.
    pub require_client_certificate: bool,
}

/// TLS towards an endpoint.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Certificates, peer validation, ALPN, versions.
    pub common: TlsCommon,
    /// Server name to send; `None` sends none.
    pub sni: Option<Arc<str>>,
    /// Use the request's host as SNI where `sni` is none.
    pub auto_host_sni: bool,
    /// The peer must be named as the request's host.
    pub auto_san_validation: bool,
}

impl UpstreamTls {
    /// The ALPN is one of Istio's own: the proxy offers `istio-http/1.1` or `istio-h2`, as it
    /// will speak.
    pub fn istio_alpn(&self) -> bool {
        self.common
            .alpn
            .first()
            .is_some_and(|first| first.starts_with("istio"))
    }
}

/// How bytes travel to an endpoint.
#[derive(Clone, Debug)]
pub enum UpstreamTransport {
    /// Plaintext.
    Raw,
    /// TLS; the `Arc` is stable while the configuration is, and serves as a cache key.
    Tls(Arc<UpstreamTls>),
}
