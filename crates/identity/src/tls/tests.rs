use std::io;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{ClientConnection, Error, ServerConnection};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;

use super::web::{Credentials, Names, ServerTrust, Versions};
use super::*;
use crate::peer::{self, PeerError};
use crate::{PrivateKey, SpiffeId};

struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn root() -> Root {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = params.self_signed(&key).unwrap().pem();
    Root {
        issuer: Issuer::new(params, key),
        pem,
    }
}

fn leaf(root: &Root, names: Vec<SanType>, expires: OffsetDateTime) -> (String, PrivateKey, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.not_after = expires;
    let certificate = params.signed_by(&key, &root.issuer).unwrap().pem();
    (
        certificate,
        PrivateKey::from_pkcs8_der(key.serialize_der()),
        key.serialize_pem(),
    )
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn tomorrow() -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::days(1)
}

fn workload(root: &Root, id: &str) -> WorkloadCertificate {
    let (chain, key, _) = leaf(root, vec![uri(id)], tomorrow());
    WorkloadCertificate::from_pem(chain.as_bytes(), &key, root.pem.as_bytes()).unwrap()
}

/// Runs a handshake in memory; the first error of either side ends it.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &'static str,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client =
        ClientConnection::new(Arc::clone(client), ServerName::try_from(name).unwrap())?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    // The server judges the client's certificate after the client has finished.
    pass(&mut client, &mut server)?;
    Ok((client, server))
}

fn pass<A, B, S, T>(from: &mut A, to: &mut B) -> Result<(), Error>
where
    A: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    B: std::ops::DerefMut<Target = rustls::ConnectionCommon<T>>,
{
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = io::Cursor::new(wire);
    while (wire.position() as usize) < wire.get_ref().len() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
const SNI: &str = "outbound_.9080_.v1_.reviews.default.svc.cluster.local";

fn set(ids: &[&str]) -> SpiffeIdSet {
    ids.iter()
        .map(|id| id.parse::<SpiffeId>().unwrap())
        .collect()
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let root = root();
    let client = client_config(
        &workload(&root, PRODUCTPAGE),
        &set(&[REVIEWS]),
        &[ALPN_ISTIO_H2],
    )
    .unwrap();
    let server = server_config(
        &workload(&root, REVIEWS),
        ClientAuth::Required,
        &SpiffeIdSet::empty(),
        &[ALPN_ISTIO_HTTP11, ALPN_ISTIO_H2],
    )
    .unwrap();
    let (client, server) = handshake(&client, &server, SNI).unwrap();
    assert_eq!(
        peer::identity(server.peer_certificates().unwrap())
            .unwrap()
            .as_str(),
        PRODUCTPAGE
    );
    assert_eq!(
        peer::identity(client.peer_certificates().unwrap())
            .unwrap()
            .as_str(),
        REVIEWS
    );
    assert_eq!(server.alpn_protocol(), Some(ALPN_ISTIO_H2));
    assert_eq!(server.server_name(), Some(SNI));
    assert_eq!(
        client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
}

#[test]
fn client_refuses_an_unexpected_server_and_says_who_it_was() {
    let root = root();
    let client = client_config(&workload(&root, PRODUCTPAGE), &set(&[PRODUCTPAGE]), &[]).unwrap();
    let server = server_config(
        &workload(&root, REVIEWS),
        ClientAuth::Required,
        &SpiffeIdSet::empty(),
        &[],
    )
    .unwrap();
    let error = handshake(&client, &server, SNI).unwrap_err();
    let reason = peer_error(&error).unwrap();
    assert_eq!(
        reason.to_string(),
        format!("peer presented {REVIEWS}, expected one of [{PRODUCTPAGE}]")
    );
}

#[test]
fn server_refuses_a_client_that_is_not_allowed() {
    let root = root();
    let client = client_config(&workload(&root, PRODUCTPAGE), &SpiffeIdSet::empty(), &[]).unwrap();
    let server = server_config(
        &workload(&root, REVIEWS),
        ClientAuth::Required,
        &set(&[REVIEWS]),
        &[],
    )
    .unwrap();
    let error = handshake(&client, &server, SNI).unwrap_err();
    assert!(
        matches!(peer_error(&error), Some(PeerError::Unexpected { .. })),
        "{error}"
    );
}

#[test]
fn refuses_a_chain_of_another_root() {
    let (ours, theirs) = (root(), root());
    let client = client_config(&workload(&ours, PRODUCTPAGE), &set(&[REVIEWS]), &[]).unwrap();
    let server = server_config(
        &workload(&theirs, REVIEWS),
        ClientAuth::Optional,
        &SpiffeIdSet::empty(),
        &[],
    )
    .unwrap();
    let error = handshake(&client, &server, SNI).unwrap_err();
    assert!(
        matches!(peer_error(&error), Some(PeerError::Untrusted { .. })),
        "{error}"
    );
}

#[test]
fn refuses_an_expired_certificate() {
    let root = root();
    let (chain, key, _) = leaf(
        &root,
        vec![uri(REVIEWS)],
        OffsetDateTime::now_utc() - time::Duration::hours(1),
    );
    let expired =
        WorkloadCertificate::from_pem(chain.as_bytes(), &key, root.pem.as_bytes()).unwrap();
    let client = client_config(&workload(&root, PRODUCTPAGE), &SpiffeIdSet::empty(), &[]).unwrap();
    let server = server_config(&expired, ClientAuth::Required, &SpiffeIdSet::empty(), &[]).unwrap();
    let error = handshake(&client, &server, SNI).unwrap_err();
    assert!(
        matches!(peer_error(&error), Some(PeerError::Untrusted { .. })),
        "{error}"
    );
}

#[test]
fn refuses_a_trust_domain_without_roots() {
    let root = root();
    let client = client_config(&workload(&root, PRODUCTPAGE), &SpiffeIdSet::empty(), &[]).unwrap();
    let stranger = workload(&root, "spiffe://elsewhere.org/ns/default/sa/x");
    let server =
        server_config(&stranger, ClientAuth::Optional, &SpiffeIdSet::empty(), &[]).unwrap();
    let error = handshake(&client, &server, SNI).unwrap_err();
    assert!(
        matches!(
            peer_error(&error),
            Some(PeerError::UnknownTrustDomain { .. })
        ),
        "{error}"
    );
}

#[test]
fn client_without_certificate_is_refused_or_let_in_as_configured() {
    let root = root();
    let anonymous =
        web::client_config(&ServerTrust::Unchecked, None, Versions::default(), &[]).unwrap();
    let server =
        |auth| server_config(&workload(&root, REVIEWS), auth, &SpiffeIdSet::empty(), &[]).unwrap();
    assert!(handshake(&anonymous, &server(ClientAuth::Required), "a.b").is_err());
    let (_, accepted) = handshake(&anonymous, &server(ClientAuth::Optional), "a.b").unwrap();
    assert!(accepted.peer_certificates().is_none());
}

#[test]
fn server_sends_no_tickets() {
    let root = root();
    let server = server_config(
        &workload(&root, REVIEWS),
        ClientAuth::Required,
        &SpiffeIdSet::empty(),
        &[],
    )
    .unwrap();
    assert_eq!(server.send_tls13_tickets, 0);
    assert!(!server.session_storage.can_cache());
}

#[test]
fn gateway_serves_and_client_checks_the_name() {
    let root = root();
    let dns = SanType::DnsName(Ia5String::try_from("bookinfo.example.com").unwrap());
    let (chain, _, key_pem) = leaf(&root, vec![dns], tomorrow());
    let credentials = Credentials {
        chain_pem: chain.as_bytes(),
        key_pem: key_pem.as_bytes(),
    };
    let server = web::server_config(
        credentials,
        None,
        Versions::default(),
        &[ALPN_H2, ALPN_HTTP11],
    )
    .unwrap();
    let client = |names| {
        let trust = ServerTrust::Roots {
            pem: root.pem.as_bytes().into(),
            names,
        };
        web::client_config(&trust, None, Versions::default(), &[ALPN_HTTP11]).unwrap()
    };
    let (_, accepted) =
        handshake(&client(Names::OfHandshake), &server, "bookinfo.example.com").unwrap();
    assert_eq!(accepted.alpn_protocol(), Some(ALPN_HTTP11));
    assert!(handshake(&client(Names::OfHandshake), &server, "other.example.com").is_err());
    let listed = Names::AnyOf(vec!["bookinfo.example.com".to_owned()].into());
    assert!(handshake(&client(listed), &server, "other.example.com").is_ok());
    let error = handshake(
        &client(Names::AnyOf(vec!["x".to_owned()].into())),
        &server,
        "a.b",
    )
    .unwrap_err();
    let reason = describe(&error);
    assert!(
        reason.starts_with("certificate of a.b: it carries none of"),
        "{reason}"
    );
}

#[test]
fn gateway_demands_client_certificates_for_mutual_tls() {
    let root = root();
    let dns = SanType::DnsName(Ia5String::try_from("a.b").unwrap());
    let (chain, _, key_pem) = leaf(&root, vec![dns.clone()], tomorrow());
    let credentials = Credentials {
        chain_pem: chain.as_bytes(),
        key_pem: key_pem.as_bytes(),
    };
    let clients = Some((root.pem.as_bytes(), ClientAuth::Required));
    let server = web::server_config(credentials, clients, Versions::Tls12, &[]).unwrap();
    let anonymous =
        web::client_config(&ServerTrust::Unchecked, None, Versions::default(), &[]).unwrap();
    assert!(handshake(&anonymous, &server, "a.b").is_err());
    let known = web::client_config(
        &ServerTrust::Unchecked,
        Some(credentials),
        Versions::default(),
        &[],
    )
    .unwrap();
    let (client, _) = handshake(&known, &server, "a.b").unwrap();
    assert_eq!(
        client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
}
