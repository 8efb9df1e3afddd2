use std::fs;
use std::os::unix::fs::PermissionsExt;

use mesh_identity::refresh::refresh_at;
use mesh_identity::{SpiffeId, WorkloadCertificate, csr};
use rcgen::{BasicConstraints, DnType, IsCa, KeyUsagePurpose};
use tempfile::TempDir;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn id() -> SpiffeId {
    "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
        .parse()
        .unwrap()
}

/// Whole seconds, as certificates have them.
fn now() -> SystemTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn load(directory: &Path) -> Result<Authority, AuthorityError> {
    Authority::load_or_create(directory, Options::default(), now())
}

fn leaf(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.chain[0].as_bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn keeps_its_root_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let first = load(directory.path()).unwrap();
    let again = load(directory.path()).unwrap();
    assert_eq!(first.root_pem(), again.root_pem());
    assert_eq!(again.origin(), Origin::SelfSigned);
    let file = directory.path().join("citadel-root.pem");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
    assert!(!again.root_pem().contains("PRIVATE"));
}

#[test]
fn issues_what_a_workload_can_use() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let (key, request) = csr::generate(&id()).unwrap();
    let issued = authority
        .sign(&request, &id(), Duration::ZERO, now())
        .unwrap();
    let certificate = WorkloadCertificate::from_pem(
        issued.chain.concat().as_bytes(),
        &key,
        authority.root_pem().as_bytes(),
    )
    .unwrap();
    assert_eq!(certificate.id(), &id());
    assert_eq!(certificate.serial(), issued.info.serial);
    assert_eq!(certificate.not_after(), now_of(&issued) + DEFAULT_TTL);
    peer::verify(certificate.chain(), authority.bundle(), UnixTime::now()).unwrap();
}

fn now_of(issued: &Issued) -> SystemTime {
    issued.info.not_before + Duration::from_secs(120)
}

#[test]
fn leaf_follows_the_profiles_of_pkix_and_spiffe() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let (_, request) = csr::generate(&id()).unwrap();
    let der = leaf(&authority.sign(&request, &id(), MINUTE, now()).unwrap());
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(parsed.subject().iter().count(), 0);
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert!(
        names.critical,
        "RFC 5280 4.2.1.6: critical where the subject is empty"
    );
    assert_eq!(names.value.general_names.len(), 1);
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(
        !parsed.is_ca()
            && parsed
                .key_usage()
                .unwrap()
                .unwrap()
                .value
                .digital_signature()
    );
    assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
}

#[test]
fn one_minute_certificates_have_their_half_life_ahead() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let (_, request) = csr::generate(&id()).unwrap();
    let at = now();
    let info = authority.sign(&request, &id(), MINUTE, at).unwrap().info;
    assert_eq!(info.not_after, at + MINUTE);
    assert!(info.not_before < at && info.not_before >= at - Duration::from_secs(6));
    assert!(refresh_at(info.not_before, info.not_after, 1.0) >= at + Duration::from_secs(15));
}

#[test]
fn lifetime_ends_at_the_maximum_and_at_the_authoritys_own_end() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        max_ttl: 2 * MINUTE,
        ..Options::default()
    };
    let authority = Authority::load_or_create(directory.path(), options, now()).unwrap();
    let (_, request) = csr::generate(&id()).unwrap();
    let at = now();
    let sign = |ttl, at| authority.sign(&request, &id(), ttl, at);
    assert_eq!(
        sign(60 * MINUTE, at).unwrap().info.not_after,
        at + 2 * MINUTE
    );
    let end = authority.info().not_after;
    assert_eq!(sign(2 * MINUTE, end - MINUTE).unwrap().info.not_after, end);
    assert_eq!(sign(MINUTE, end).unwrap_err(), SignError::AuthorityExpired);
}

#[test]
fn serial_numbers_differ_for_the_same_key() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let (_, request) = csr::generate(&id()).unwrap();
    let serial = || {
        authority
            .sign(&request, &id(), MINUTE, now())
            .unwrap()
            .info
            .serial
    };
    assert_ne!(serial(), serial());
}

#[test]
fn refuses_bad_requests() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let sign = |request: &str| authority.sign(request, &id(), MINUTE, now()).unwrap_err();
    assert!(matches!(sign(""), SignError::Damaged { .. }));
    assert!(matches!(
        sign(&"x".repeat(100_000)),
        SignError::Damaged { .. }
    ));
    let (_, other) = csr::generate(
        &"spiffe://cluster.local/ns/kube-system/sa/admin"
            .parse()
            .unwrap(),
    )
    .unwrap();
    let error = sign(&other);
    assert!(
        error
            .to_string()
            .contains("names spiffe://cluster.local/ns/kube-system/sa/admin"),
        "{error}"
    );
    let (_, request) = csr::generate(&id()).unwrap();
    assert_eq!(sign(&tampered(&request)), SignError::NoPossession);
}

/// The request with a changed last byte, which belongs to its signature.
fn tampered(request: &str) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(request.as_bytes()).unwrap();
    let mut der = pem.contents;
    *der.last_mut().unwrap() ^= 1;
    to_pem(&der).replace("CERTIFICATE", "CERTIFICATE REQUEST")
}

#[test]
fn never_replaces_a_root_that_it_cannot_use() {
    let directory = TempDir::new().unwrap();
    load(directory.path()).unwrap();
    let file = directory.path().join("citadel-root.pem");
    let good = fs::read_to_string(&file).unwrap();
    let key_start = good.find("-----BEGIN PRIVATE").unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    for bad in [
        "",
        "nonsense",
        &good[..key_start],
        &good[key_start..],
        &format!("{}{other}", &good[..key_start]),
    ] {
        fs::write(&file, bad).unwrap();
        let error = load(directory.path()).unwrap_err();
        assert!(matches!(error, AuthorityError::Unusable { .. }), "{error}");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            bad,
            "the file is left as it is"
        );
    }
}

#[test]
fn reports_a_directory_that_cannot_be_written() {
    let directory = TempDir::new().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = load(&blocked.join("state")).unwrap_err();
    assert!(
        matches!(
            error,
            AuthorityError::Write { .. } | AuthorityError::Read { .. }
        ),
        "{error}"
    );
}

struct PluggedIn {
    root: String,
    certificate: String,
    key: String,
}

fn plugged_in() -> PluggedIn {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params, KeyPair::generate().unwrap())
    };
    let (root_params, root_key) = authority("Root");
    let root = root_params.self_signed(&root_key).unwrap().pem();
    let (params, key) = authority("Intermediate");
    let certificate = params
        .signed_by(&key, &Issuer::new(root_params, root_key))
        .unwrap()
        .pem();
    PluggedIn {
        root,
        certificate,
        key: key.serialize_pem(),
    }
}

fn write(directory: &Path, parts: &PluggedIn, root: &str) {
    for (name, text) in [
        ("ca-cert.pem", &parts.certificate),
        ("ca-key.pem", &parts.key),
        (
            "cert-chain.pem",
            &format!("{}{}", parts.certificate, parts.root),
        ),
        ("root-cert.pem", &root.to_owned()),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn uses_a_plugged_in_intermediate_with_its_chain() {
    let directory = TempDir::new().unwrap();
    let parts = plugged_in();
    write(directory.path(), &parts, &parts.root);
    let authority = load(directory.path()).unwrap();
    assert_eq!(authority.origin(), Origin::PluggedIn);
    let (_, request) = csr::generate(&id()).unwrap();
    let issued = authority.sign(&request, &id(), MINUTE, now()).unwrap();
    assert_eq!(issued.chain.len(), 3);
    assert_eq!(authority.root_pem(), parts.root);
    assert!(!directory.path().join("citadel-root.pem").exists());
}

#[test]
fn says_which_plugged_in_file_is_missing_or_foreign() {
    let directory = TempDir::new().unwrap();
    let parts = plugged_in();
    write(directory.path(), &parts, &plugged_in().root);
    let error = load(directory.path()).unwrap_err().to_string();
    assert!(error.contains("not trusted by its root"), "{error}");
    fs::remove_file(directory.path().join("ca-key.pem")).unwrap();
    let error = load(directory.path()).unwrap_err().to_string();
    assert!(error.contains("without ca-key.pem"), "{error}");
}

#[test]
fn makes_the_control_planes_certificate() {
    let directory = TempDir::new().unwrap();
    let authority = load(directory.path()).unwrap();
    let names = crate::control_plane_names("istiod", "istio-system", "cluster.local");
    let (issued, _) = authority.server_certificate(&names, MINUTE, now()).unwrap();
    assert_eq!(issued.info.names, names);
    assert!(names.contains(&"istiod.istio-system.svc.cluster.local".to_owned()));
}
