//! TLS settings of clients (DestinationRule) and servers (Gateway).

/// TLS towards a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientTls {
    /// Plain text.
    Disable,
    /// TLS; the server is verified.
    Simple(OriginatedTls),
    /// TLS with a client certificate of the user's.
    Mutual {
        /// The client certificate.
        certificate: ClientCertificate,
        /// The rest.
        tls: OriginatedTls,
    },
    /// Mesh mTLS with the workload's own certificate.
    IstioMutual {
        /// Identities that are accepted; empty means those of the service.
        subject_alt_names: Vec<String>,
        /// SNI; `None` means Istio's form for the cluster.
        sni: Option<String>,
    },
}

/// How the server is verified and called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OriginatedTls {
    /// What the server's certificate is checked against.
    pub verification: ServerVerification,
    /// Names of which the certificate must have one; empty means none is asked for.
    pub subject_alt_names: Vec<String>,
    /// SNI; `None` means the host of the request or service.
    pub sni: Option<String>,
}

/// What a server's certificate is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum ServerVerification {
    /// The roots of the operating system.
    #[default]
    SystemRoots,
    /// This file of roots (PEM).
    CaFile(String),
    /// Roots from the secret of this name (gateways only).
    Credential(String),
    /// Nothing: `insecureSkipVerify`.
    Skip,
}

/// A client certificate of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientCertificate {
    /// PEM files in the proxy's container.
    Files {
        /// Certificate chain.
        certificate: String,
        /// Private key.
        private_key: String,
    },
    /// A secret (gateways, or with a workload selector).
    Credential(String),
}

/// TLS of a Gateway's server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerTls {
    /// Not terminated; routed by SNI.
    Passthrough,
    /// Terminated.
    Terminate(Box<TerminatedTls>),
}

/// How TLS is terminated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TerminatedTls {
    /// Which certificate is shown and what is asked of the client.
    pub mode: TerminationMode,
    /// Oldest version; `None` means the proxy's default (TLS 1.2).
    pub min_version: Option<TlsVersion>,
    /// Newest version; `None` means the proxy's default (TLS 1.3).
    pub max_version: Option<TlsVersion>,
    /// Cipher suites in OpenSSL's names; empty means the proxy's default.
    pub cipher_suites: Vec<String>,
}

/// Which certificate a server shows and what it asks of the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TerminationMode {
    /// The user's certificate; none is asked of the client.
    Simple(ServerCredential),
    /// The user's certificate; one of the user's CA is asked of the client.
    Mutual {
        /// Certificate and client CA.
        credential: ServerCredential,
        /// File of the client CA, if the certificate comes from files.
        client: ClientVerification,
        /// Whether a client without a certificate is let in (`OPTIONAL_MUTUAL`).
        optional: bool,
    },
    /// Mesh mTLS with the gateway's own certificate.
    IstioMutual,
}

/// What is asked of a client's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientVerification {
    /// File of roots (PEM); `None` when they come with the credential.
    pub ca_file: Option<String>,
    /// Names of which the certificate must have one; empty means none is asked for.
    pub subject_alt_names: Vec<String>,
}

/// A server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerCredential {
    /// Secrets in the gateway's namespace; at least one (several for several key types).
    Secrets(Vec<String>),
    /// PEM files in the gateway's container.
    Files {
        /// Certificate chain.
        certificate: String,
        /// Private key.
        private_key: String,
    },
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}
