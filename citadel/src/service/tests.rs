use mesh_identity::{SpiffeId, WorkloadCertificate, csr};
use mesh_xds::google::protobuf::{Struct, Value};
use tempfile::TempDir;
use tonic::Code;

use super::*;
use crate::authority::{Authority, Options};
use crate::token::tests::Issuer;

struct Fixture {
    _state: TempDir,
    issuer: Issuer,
    registry: Registry,
    service: CaService,
}

fn fixture() -> Fixture {
    let state = TempDir::new().unwrap();
    let authority =
        Authority::load_or_create(state.path(), Options::default(), SystemTime::now()).unwrap();
    let issuer = Issuer::new();
    let registry = Registry::new();
    let service = CaService::new(
        Live::fixed(authority),
        Arc::new(issuer.verifier()),
        &registry,
    );
    Fixture {
        _state: state,
        issuer,
        registry,
        service,
    }
}

const ID: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";

fn request(
    id: &str,
    token: Option<&str>,
) -> (mesh_identity::PrivateKey, Request<IstioCertificateRequest>) {
    let (key, csr) = csr::generate(&id.parse::<SpiffeId>().unwrap()).unwrap();
    let mut request = Request::new(IstioCertificateRequest {
        csr,
        validity_duration: 60,
        ..IstioCertificateRequest::default()
    });
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    (key, request)
}

#[tokio::test]
async fn issues_for_the_identity_of_the_token() {
    let fixture = fixture();
    let (key, request) = request(ID, Some(&fixture.issuer.token()));
    let chain = fixture
        .service
        .create_certificate(request)
        .await
        .unwrap()
        .into_inner()
        .cert_chain;
    let (root, leaf) = chain.split_last().unwrap();
    let certificate =
        WorkloadCertificate::from_pem(leaf.concat().as_bytes(), &key, root.as_bytes()).unwrap();
    assert_eq!(certificate.id().as_str(), ID);
    let text = fixture.registry.render();
    assert!(text.contains("citadel_server_csr_count 1\n"), "{text}");
    assert!(
        text.contains("citadel_server_success_cert_issuance_count 1\n"),
        "{text}"
    );
}

#[tokio::test]
async fn refuses_with_a_status_that_says_why() {
    let fixture = fixture();
    let call = async |request| {
        fixture
            .service
            .create_certificate(request)
            .await
            .unwrap_err()
    };
    let status = call(request(ID, None).1).await;
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::Unauthenticated,
            "no bearer token in the metadata authorization"
        )
    );
    let status = call(request(ID, Some("x.y.z")).1).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    let other = "spiffe://cluster.local/ns/default/sa/somebody-else";
    let status = call(request(other, Some(&fixture.issuer.token())).1).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains(other), "{}", status.message());
    let (_, mut signer) = request(ID, Some(&fixture.issuer.token()));
    let fields = [("CertSigner".to_owned(), Value::default())].into();
    signer.get_mut().metadata = Some(Struct { fields });
    assert_eq!(call(signer).await.code(), Code::InvalidArgument);
    assert!(
        fixture
            .registry
            .render()
            .contains("citadel_server_authentication_failure_count 2\n")
    );
}
