use std::time::SystemTime;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber};

use super::*;

const ID: &str = "spiffe://cluster.local/ns/default/sa/reviews";

fn self_signed(names: &[&str]) -> (String, PrivateKey) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::URI(Ia5String::try_from(*name).unwrap()))
        .collect();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, PrivateKey::from_pkcs8_der(key.serialize_der()))
}

#[test]
fn reads_id_serial_and_validity() {
    let (pem, key) = self_signed(&[ID]);
    let certificate = WorkloadCertificate::from_pem(pem.as_bytes(), &key, pem.as_bytes()).unwrap();
    assert_eq!(certificate.id().as_str(), ID);
    assert_eq!(certificate.serial(), "0aff");
    assert!(
        certificate.not_before() < SystemTime::now() && SystemTime::now() < certificate.not_after()
    );
    assert_eq!(
        CertificateInfo::from_der(&certificate.chain()[0])
            .unwrap()
            .names,
        [ID]
    );
}

#[test]
fn never_prints_the_key() {
    let (pem, key) = self_signed(&[ID]);
    let certificate = WorkloadCertificate::from_pem(pem.as_bytes(), &key, pem.as_bytes()).unwrap();
    let printed = format!("{certificate:?} {key:?}");
    assert!(
        printed.contains("redacted") && printed.contains("0aff"),
        "{printed}"
    );
    assert!(printed.len() < 400, "nothing as long as a key: {printed}");
}

#[test]
fn says_what_is_wrong() {
    let (pem, key) = self_signed(&[ID]);
    let (_, other_key) = self_signed(&[ID]);
    let from = |chain: &str, key: &PrivateKey, roots: &str| {
        WorkloadCertificate::from_pem(chain.as_bytes(), key, roots.as_bytes()).unwrap_err()
    };
    assert!(matches!(
        from("", &key, &pem),
        CertificateError::Chain { .. }
    ));
    assert!(matches!(
        from(&pem, &other_key, &pem),
        CertificateError::Key { .. }
    ));
    assert!(matches!(
        from(&pem, &key, ""),
        CertificateError::Bundle(BundleError::Empty { .. })
    ));
    let (two, two_key) = self_signed(&[ID, "spiffe://cluster.local/ns/a/sa/b"]);
    let error = from(&two, &two_key, &two);
    assert!(matches!(
        error,
        CertificateError::Identity(PeerError::NotOneUri { found: 2 })
    ));
    let (none, none_key) = self_signed(&[]);
    assert!(matches!(
        from(&none, &none_key, &none),
        CertificateError::Identity(PeerError::NotOneUri { found: 0 })
    ));
    assert!(PrivateKey::from_pem(pem.as_bytes()).is_err());
}
