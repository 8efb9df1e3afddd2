//! `x-forwarded-client-cert`: tells the application who its client is.
//!
//! Source: Envoy "x-forwarded-client-cert", `forward_client_cert_details`.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::HeaderValue;
use mesh_route::http_manager::{CertificateDetails, ForwardClientCertificate};
use sha2::{Digest as _, Sha256};

use super::headers::name;
use crate::listen::connection::Connection;

/// Applies the manager's rule.
pub(crate) fn apply(
    headers: &mut HeaderMap,
    rule: ForwardClientCertificate,
    connection: &Connection,
) {
    use ForwardClientCertificate as Rule;
    let mutual = connection
        .handshake
        .as_ref()
        .is_some_and(|h| h.certificate.is_some());
    match rule {
        Rule::AlwaysForwardOnly => return,
        Rule::ForwardOnly | Rule::AppendForward(_) if mutual => {}
        Rule::Sanitize | Rule::SanitizeSet(_) | Rule::ForwardOnly | Rule::AppendForward(_) => {
            headers.remove(name::X_FORWARDED_CLIENT_CERT);
        }
    }
    let (Rule::AppendForward(details) | Rule::SanitizeSet(details)) = rule else {
        return;
    };
    let Some(own) = connection.client_words(details, || element(connection, details)) else {
        return;
    };
    let before = headers
        .get(name::X_FORWARDED_CLIENT_CERT)
        .map(HeaderValue::as_bytes);
    let value = match before {
        None => Ok(own),
        Some(before) => HeaderValue::from_bytes(&[before, b",", own.as_bytes()].concat()),
    };
    if let Ok(value) = value {
        headers.insert(name::X_FORWARDED_CLIENT_CERT, value);
    }
}

/// `By=...;Hash=...;Subject="...";URI=...` of the client of this connection.
fn element(connection: &Connection, details: CertificateDetails) -> Option<HeaderValue> {
    let handshake = connection.handshake.as_ref()?;
    let certificate = handshake.certificate.as_deref()?;
    let mut text = format!("By={};Hash=", connection.worker.own_principal);
    for byte in Sha256::digest(certificate) {
        let _ = write!(text, "{byte:02x}");
    }
    if details.certificate || details.chain {
        let key = if details.certificate { "Cert" } else { "Chain" };
        let _ = write!(text, ";{key}=\"{}\"", pem_escaped(certificate));
    }
    if details.subject {
        // A SPIFFE certificate has no subject: Envoy writes it empty too.
        text.push_str(";Subject=\"\"");
    }
    if details.uri {
        let _ = write!(
            text,
            ";URI={}",
            handshake.principal.as_deref().unwrap_or_default()
        );
    }
    if details.dns
        && let Ok(info) = mesh_identity::certificate::CertificateInfo::from_der(certificate)
    {
        for dns in info.names.iter().filter(|name| !name.contains("://")) {
            let _ = write!(text, ";DNS={dns}");
        }
    }
    HeaderValue::try_from(text).ok()
}

/// The certificate in PEM, URL encoded.
fn pem_escaped(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for line in text.as_bytes().chunks(64) {
        for &byte in line {
            match byte {
                b'+' => pem.push_str("%2B"),
                b'/' => pem.push_str("%2F"),
                b'=' => pem.push_str("%3D"),
                _ => pem.push(char::from(byte)),
            }
        }
        pem.push_str("%0A");
    }
    pem.push_str("-----END%20CERTIFICATE-----%0A");
    pem
}
