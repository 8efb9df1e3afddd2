//! Reads `ServerTLSSettings`.

use super::reader::{Fields, Node};
use crate::tls::{
    ClientVerification, ServerCredential, ServerTls, TerminatedTls, TerminationMode, TlsVersion,
};

/// What the settings say; the redirect belongs to the server, not to TLS.
pub(super) struct Settings {
    pub(super) tls: ServerTls,
    pub(super) https_redirect: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Passthrough,
    Simple,
    Mutual,
    OptionalMutual,
    IstioMutual,
}

/// The fields that name a certificate.
const CERTIFICATE: [&str; 4] = [
    "credentialName",
    "credentialNames",
    "serverCertificate",
    "privateKey",
];

pub(super) fn read(node: &Node<'_>) -> Option<Settings> {
    let fields = node.open(
        &[
            "httpsRedirect",
            "mode",
            "serverCertificate",
            "privateKey",
            "caCertificates",
            "credentialName",
            "credentialNames",
            "subjectAltNames",
            "minProtocolVersion",
            "maxProtocolVersion",
            "cipherSuites",
        ],
        &[
            ("caCrl", "revocation lists are not checked"),
            (
                "caCertCredentialName",
                "put the CA into the secret of credentialName as ca.crt",
            ),
            ("tlsCertificates", "use credentialNames"),
            ("verifyCertificateSpki", "use subjectAltNames"),
            ("verifyCertificateHash", "use subjectAltNames"),
            (
                "insecureSkipVerify",
                "use mode SIMPLE, which asks no certificate of clients",
            ),
        ],
    )?;
    let words = [
        ("PASSTHROUGH", Mode::Passthrough),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Mutual),
        ("OPTIONAL_MUTUAL", Mode::OptionalMutual),
        ("ISTIO_MUTUAL", Mode::IstioMutual),
    ];
    let refused = [(
        "AUTO_PASSTHROUGH",
        "use PASSTHROUGH with a VirtualService that routes by SNI",
    )];
    let https_redirect = fields.flag("httpsRedirect").unwrap_or_default();
    let mode = match fields.get("mode") {
        None => Mode::Passthrough,
        Some(node) => node.choice(&words, &refused)?,
    };
    let tls = match mode {
        Mode::Passthrough => passthrough(&fields),
        _ => ServerTls::Terminate(Box::new(terminate(&fields, mode)?)),
    };
    Some(Settings {
        tls,
        https_redirect,
    })
}

fn passthrough(fields: &Fields<'_>) -> ServerTls {
    let unused = [
        "credentialName",
        "credentialNames",
        "serverCertificate",
        "privateKey",
        "caCertificates",
        "subjectAltNames",
        "minProtocolVersion",
        "maxProtocolVersion",
        "cipherSuites",
    ];
    for name in fields.present(&unused) {
        let problem = "has no effect with mode PASSTHROUGH (the default)";
        fields.error_at::<()>(name, problem, "set mode to SIMPLE or MUTUAL, or remove it");
    }
    ServerTls::Passthrough
}

fn terminate(fields: &Fields<'_>, mode: Mode) -> Option<TerminatedTls> {
    let min_version = version(fields, "minProtocolVersion");
    let max_version = version(fields, "maxProtocolVersion");
    if let (Some(min), Some(max)) = (min_version, max_version)
        && min > max
    {
        fields.error_at::<()>(
            "minProtocolVersion",
            "is newer than maxProtocolVersion",
            "swap the two",
        );
    }
    Some(TerminatedTls {
        min_version,
        max_version,
        cipher_suites: fields.texts("cipherSuites"),
        mode: termination_mode(fields, mode)?,
    })
}

fn version(fields: &Fields<'_>, name: &str) -> Option<TlsVersion> {
    let words = [
        ("TLS_AUTO", None),
        ("TLSV1_2", Some(TlsVersion::V1_2)),
        ("TLSV1_3", Some(TlsVersion::V1_3)),
    ];
    let old = "the proxy speaks TLS 1.2 and 1.3 only: use TLSV1_2";
    fields.choice(name, &words, &[("TLSV1_0", old), ("TLSV1_1", old)])?
}

fn termination_mode(fields: &Fields<'_>, mode: Mode) -> Option<TerminationMode> {
    if mode == Mode::IstioMutual {
        for name in fields
            .present(&CERTIFICATE)
            .into_iter()
            .chain(fields.present(&["caCertificates"]))
        {
            let problem =
                "cannot be set with mode ISTIO_MUTUAL, which uses the gateway's own certificate";
            fields.error_at::<()>(name, problem, "remove it");
        }
        return Some(TerminationMode::IstioMutual);
    }
    let credential = credential(fields)?;
    if mode == Mode::Simple {
        for name in fields.present(&["caCertificates", "subjectAltNames"]) {
            let problem = "has no effect with mode SIMPLE, which asks no certificate of clients";
            fields.error_at::<()>(name, problem, "use mode MUTUAL, or remove it");
        }
        return Some(TerminationMode::Simple(credential));
    }
    let ca_file = fields.text("caCertificates");
    match (&credential, &ca_file) {
        (ServerCredential::Files { .. }, None) => {
            let remedy = "name the file of the CA that signs client certificates";
            fields.error_at::<()>("caCertificates", "required for client certificates", remedy);
        }
        (ServerCredential::Secrets(_), Some(_)) => {
            let remedy = "put the CA into the secret (ca.crt), or into a secret NAME-cacert";
            fields.error_at::<()>(
                "caCertificates",
                "cannot be set together with a credential",
                remedy,
            );
        }
        _ => {}
    }
    Some(TerminationMode::Mutual {
        credential,
        client: ClientVerification {
            ca_file,
            subject_alt_names: fields.texts("subjectAltNames"),
        },
        optional: mode == Mode::OptionalMutual,
    })
}

fn credential(fields: &Fields<'_>) -> Option<ServerCredential> {
    fields.exclusive(&["credentialName", "credentialNames", "serverCertificate"]);
    if let Some(name) = fields.text("credentialName") {
        return Some(ServerCredential::Secrets(vec![name]));
    }
    let names = fields.texts("credentialNames");
    if !names.is_empty() {
        return Some(ServerCredential::Secrets(names));
    }
    if fields.present(&CERTIFICATE).is_empty() {
        let remedy = "set credentialName to the secret with the certificate";
        return fields.error_at("credentialName", "no certificate", remedy);
    }
    let remedy = "serverCertificate and privateKey go together";
    let certificate = fields.required_text("serverCertificate", remedy);
    let private_key = fields.required_text("privateKey", remedy);
    Some(ServerCredential::Files {
        certificate: certificate?,
        private_key: private_key?,
    })
}
