//! Schema of how a Gateway's server or a Sidecar's listener terminates TLS.

use super::builder::{Field, Schema, field, flag, list, object, text, texts, words};

/// Schema of `ServerTLSSettings`.
pub(super) fn schema() -> Schema {
    let mode = [
        field(
            "httpsRedirect",
            "Answer plain HTTP requests with a redirect to HTTPS.",
            flag(),
        ),
        field(
            "mode",
            "Whether TLS ends here, and what clients must show.",
            words(&[
                "PASSTHROUGH",
                "SIMPLE",
                "MUTUAL",
                "AUTO_PASSTHROUGH",
                "ISTIO_MUTUAL",
                "OPTIONAL_MUTUAL",
            ]),
        ),
    ];
    object(
        mode.into_iter()
            .chain(certificates())
            .chain(clients())
            .chain(protocol()),
    )
    .at_most_one(&["credentialNames", "tlsCertificates"])
    .at_most_one(&["credentialName", "credentialNames"])
    .at_most_one(&["credentialName", "tlsCertificates"])
}

/// What the server shows, from files or from secrets.
fn certificates() -> [Field; 5] {
    let files = object([
        field("serverCertificate", "File of the certificate.", text()),
        field("privateKey", "File of its private key.", text()),
        field("caCertificates", "File of the authorities.", text()),
    ]);
    [
        field("serverCertificate", "File of the certificate.", text()),
        field("privateKey", "File of the private key.", text()),
        field(
            "credentialName",
            "The secret with certificate and key, and the authorities of clients.",
            text(),
        ),
        field(
            "credentialNames",
            "Secrets with certificates of different key types.",
            list(text()).at_least(1).at_most(2),
        ),
        field(
            "tlsCertificates",
            "Files of certificates of different key types.",
            list(files).at_least(1).at_most(2),
        ),
    ]
}

/// How the certificates of clients are checked.
fn clients() -> [Field; 7] {
    [
        field(
            "caCertificates",
            "File of the authorities that sign the certificates of clients.",
            text(),
        ),
        field("caCrl", "File of revoked client certificates.", text()),
        field(
            "caCertCredentialName",
            "The secret or ConfigMap with the authorities of clients.",
            text(),
        ),
        field(
            "subjectAltNames",
            "Names of which a client's certificate must have one.",
            texts(),
        ),
        field(
            "verifyCertificateSpki",
            "Hashes (base64 SHA-256) of public keys that clients may have.",
            texts(),
        ),
        field(
            "verifyCertificateHash",
            "Hashes (hex SHA-256) of certificates that clients may have.",
            texts(),
        ),
        field(
            "insecureSkipVerify",
            "Do not check the certificates of clients.",
            flag().nullable(),
        ),
    ]
}

/// What may be negotiated.
fn protocol() -> [Field; 3] {
    let versions = || words(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);
    [
        field(
            "minProtocolVersion",
            "The oldest version of TLS that is spoken.",
            versions(),
        ),
        field(
            "maxProtocolVersion",
            "The newest version of TLS that is spoken.",
            versions(),
        ),
        field(
            "cipherSuites",
            "Cipher suites that may be negotiated, in OpenSSL's names.",
            texts(),
        ),
    ]
}
