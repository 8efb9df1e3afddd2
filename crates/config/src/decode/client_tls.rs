//! Reads `ClientTLSSettings`.

use super::reader::{Fields, Node};
use crate::tls::{ClientCertificate, ClientTls, OriginatedTls, ServerVerification};

#[derive(Clone, Copy)]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

pub(super) fn read(node: &Node<'_>) -> Option<ClientTls> {
    let fields = node.open(
        &[
            "mode",
            "clientCertificate",
            "privateKey",
            "caCertificates",
            "credentialName",
            "subjectAltNames",
            "sni",
            "insecureSkipVerify",
        ],
        &[("caCrl", "revocation lists are not checked")],
    )?;
    let words = [
        ("DISABLE", Mode::Disable),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Mutual),
        ("ISTIO_MUTUAL", Mode::IstioMutual),
    ];
    let mode = match fields.get("mode") {
        // protobuf's zero value, as in Istio.
        None => Mode::Disable,
        Some(node) => node.choice(&words, &[])?,
    };
    match mode {
        Mode::Disable => Some(disable(&fields)),
        Mode::Simple => Some(simple(&fields)),
        Mode::Mutual => mutual(&fields),
        Mode::IstioMutual => Some(istio_mutual(&fields)),
    }
}

fn disable(fields: &Fields<'_>) -> ClientTls {
    const ALL: [&str; 7] = [
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "credentialName",
        "subjectAltNames",
        "sni",
        "insecureSkipVerify",
    ];
    refuse(
        fields,
        &ALL,
        "DISABLE (the default)",
        "set mode, or remove it",
    );
    ClientTls::Disable
}

fn simple(fields: &Fields<'_>) -> ClientTls {
    let certificate = ["clientCertificate", "privateKey"];
    refuse(
        fields,
        &certificate,
        "SIMPLE",
        "use mode MUTUAL, or remove it",
    );
    fields.exclusive(&["credentialName", "caCertificates"]);
    let roots = fields
        .text("credentialName")
        .map(ServerVerification::Credential);
    ClientTls::Simple(originated(fields, roots))
}

fn istio_mutual(fields: &Fields<'_>) -> ClientTls {
    const OWN: [&str; 5] = [
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "credentialName",
        "insecureSkipVerify",
    ];
    refuse(
        fields,
        &OWN,
        "ISTIO_MUTUAL, which uses the mesh's certificates",
        "remove it",
    );
    ClientTls::IstioMutual {
        subject_alt_names: fields.texts("subjectAltNames"),
        sni: fields.text("sni"),
    }
}

fn refuse(fields: &Fields<'_>, names: &[&str], mode: &str, remedy: &str) {
    for name in fields.present(names) {
        fields.error_at::<()>(name, format!("cannot be set with mode {mode}"), remedy);
    }
}

fn mutual(fields: &Fields<'_>) -> Option<ClientTls> {
    if let Some(name) = fields.text("credentialName") {
        let files = ["clientCertificate", "privateKey", "caCertificates"];
        for file in fields.present(&files) {
            fields.error_at::<()>(
                file,
                "cannot be set together with credentialName",
                "keep one of the two",
            );
        }
        let roots = Some(ServerVerification::Credential(name.clone()));
        return Some(ClientTls::Mutual {
            certificate: ClientCertificate::Credential(name),
            tls: originated(fields, roots),
        });
    }
    let remedy = "mode MUTUAL needs clientCertificate and privateKey, or credentialName";
    let certificate = fields.required_text("clientCertificate", remedy);
    let private_key = fields.required_text("privateKey", remedy);
    Some(ClientTls::Mutual {
        tls: originated(fields, None),
        certificate: ClientCertificate::Files {
            certificate: certificate?,
            private_key: private_key?,
        },
    })
}

/// `roots`: those of a credential, if one is named.
fn originated(fields: &Fields<'_>, roots: Option<ServerVerification>) -> OriginatedTls {
    let skip = fields.flag("insecureSkipVerify") == Some(true);
    if skip {
        for name in fields.present(&["caCertificates", "subjectAltNames"]) {
            let problem = "has no effect with insecureSkipVerify";
            fields.error_at::<()>(name, problem, "remove one of the two");
        }
    }
    let files = fields
        .text("caCertificates")
        .map(ServerVerification::CaFile);
    OriginatedTls {
        verification: match skip {
            true => ServerVerification::Skip,
            false => roots.or(files).unwrap_or_default(),
        },
        subject_alt_names: fields.texts("subjectAltNames"),
        sni: fields.text("sni"),
    }
}
