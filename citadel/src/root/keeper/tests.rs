use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256,
};

use super::*;
use crate::authority::Options;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const PROPAGATION: Duration = Duration::from_secs(300);

/// A replica and the Secrets that it sees, which a leader writes at once.
pub(super) struct Replica {
    pub(super) keeper: Keeper,
    pub(super) now: SystemTime,
    version: u32,
}

impl Replica {
    pub(super) fn new() -> Self {
        let settings = Settings {
            namespace: "istio-system".to_owned(),
            authority: Options {
                max_ttl: 24 * HOUR,
                ..Options::default()
            },
            propagation: PROPAGATION,
        };
        Self {
            keeper: Keeper::new(settings),
            now: SystemTime::now(),
            version: 0,
        }
    }

    pub(super) fn sees(&mut self, name: &str, secret: Option<Secret>) -> Result<(), String> {
        let secret = secret.map(|mut secret| {
            self.version += 1;
            secret.metadata.resource_version = Some(self.version.to_string());
            secret
        });
        self.keeper
            .observe(name, secret, self.now)
            .map_err(|error| error.to_string())
    }

    /// Decides, writes what the leader has to write, and does so until nothing is left.
    pub(super) fn leads(&mut self) -> Authority {
        for _ in 0..5 {
            let authority = self.keeper.decide(self.now).unwrap().unwrap();
            let writes = self.keeper.writes(self.now).unwrap();
            if writes.is_empty() {
                return authority;
            }
            for write in writes {
                let (Write::Create(secret) | Write::Replace(secret)) = write;
                let name = secret.metadata.name.clone().unwrap();
                self.sees(&name, Some(secret)).unwrap();
            }
        }
        panic!("the leader's writes do not come to an end");
    }

    /// The same replica after a restart: it knows what is in `secrets`.
    fn restarted(&self, secrets: &[(&str, &Secret)]) -> Self {
        let mut replica = Self::new();
        replica.now = self.now;
        let version = self.keeper.trust_version.clone();
        let trust = self.keeper.trust.to_secret("istio-system", version);
        replica.sees(trust::NAME, Some(trust)).unwrap();
        for (name, secret) in secrets {
            replica.sees(name, Some((*secret).clone())).unwrap();
        }
        replica
    }
}

pub(super) fn own() -> Secret {
    let (certificate, key) =
        make_root(&Options::default().trust_domain, SystemTime::now()).unwrap();
    secret::new_self_signed("istio-system", &certificate, &key)
}

/// A root, and plugged-in Secrets with intermediates of it.
pub(super) struct Operator {
    params: CertificateParams,
    key: KeyPair,
    pub(super) pem: String,
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Operator {
    pub(super) fn new(name: &str) -> Self {
        let (params, key) = (ca(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// Secret `cacerts` with a new intermediate, and `roots` beside our own.
    pub(super) fn plugs_in(&self, roots: &str) -> Secret {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = ca("Intermediate").signed_by(&key, &issuer).unwrap().pem();
        secret_of(
            secret::PLUGGED_IN,
            &[
                ("ca-cert.pem", certificate.clone()),
                ("ca-key.pem", key.serialize_pem()),
                ("cert-chain.pem", certificate),
                ("root-cert.pem", format!("{}{roots}", self.pem)),
            ],
        )
    }
}

fn secret_of(name: &str, texts: &[(&str, String)]) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    secret.metadata.namespace = Some("istio-system".to_owned());
    let data = texts
        .iter()
        .map(|(key, text)| ((*key).to_owned(), ByteString(text.clone().into_bytes())));
    secret.data = Some(data.collect());
    secret
}

fn roots(authority: &Authority) -> usize {
    let domain = &authority.options().trust_domain;
    authority.bundle().roots(domain).len()
}

#[test]
fn takes_over_what_istio_left() {
    // Istio's root has an RSA key in PKCS #1, which PKCS #8 wraps in 26 bytes for 2048 bits.
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = ca("cluster.local").self_signed(&key).unwrap().pem();
    let bytes = &key.serialize_der()[26..];
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let pem =
        format!("-----BEGIN RSA PRIVATE KEY-----\n{encoded}\n-----END RSA PRIVATE KEY-----\n");
    let istios = secret_of(
        secret::SELF_SIGNED,
        &[
            ("ca-cert.pem", certificate.clone()),
            ("ca-key.pem", pem),
            ("cert-chain.pem", String::new()),
            ("key.pem", String::new()),
            ("root-cert.pem", certificate.clone()),
        ],
    );
    let mut replica = Replica::new();
    replica.sees(secret::SELF_SIGNED, Some(istios)).unwrap();
    let authority = replica.leads();
    assert_eq!(authority.origin(), Origin::SelfSigned);
    assert_eq!(
        authority.root_pem().replace('\r', ""),
        certificate.replace('\r', "")
    );
}

#[test]
fn takes_an_authority_as_cert_manager_writes_it_and_nothing_for_none() {
    let istios = Operator::new("Company").plugs_in("").data.unwrap();
    let text = |name: &str| String::from_utf8(istios[name].0.clone()).unwrap();
    let tls = [
        ("tls.crt", text("ca-cert.pem")),
        ("tls.key", text("ca-key.pem")),
        ("ca.crt", text("root-cert.pem")),
    ];
    let mut replica = Replica::new();
    let cacerts = secret_of(secret::PLUGGED_IN, &tls);
    replica.sees(secret::PLUGGED_IN, Some(cacerts)).unwrap();
    let authority = replica.leads();
    assert_eq!(authority.origin(), Origin::PluggedIn);
    assert!(authority.root_pem().contains(text("root-cert.pem").trim()));

    let without_root = secret_of(secret::PLUGGED_IN, &tls[..2]);
    let error = replica.sees(secret::PLUGGED_IN, Some(without_root));
    assert!(error.unwrap_err().to_string().contains("without ca.crt:"));
    let misnamed = secret_of(secret::PLUGGED_IN, &[("ca.pem", String::new())]);
    let error = Replica::new().sees(secret::PLUGGED_IN, Some(misnamed));
    assert!(error.is_err(), "no root of our own in its place");
}

#[test]
fn a_successor_is_trusted_before_it_signs_and_the_old_root_until_its_last_certificate_ends() {
    let mut replica = Replica::new();
    replica.sees(secret::SELF_SIGNED, Some(own())).unwrap();
    let first = replica.leads();
    assert_eq!(roots(&first), 1);

    let mut asked = replica.keeper.own_secret.clone().unwrap();
    let annotations = asked.metadata.annotations.get_or_insert_default();
    annotations.insert(secret::ROTATE.to_owned(), "now".to_owned());
    replica.sees(secret::SELF_SIGNED, Some(asked)).unwrap();
    let both = replica.leads();
    assert_eq!(both.certificate(), first.certificate(), "the old one signs");
    assert_eq!(roots(&both), 2);

    replica.now += PROPAGATION - Duration::from_secs(1);
    assert_eq!(replica.leads().certificate(), first.certificate());
    replica.now += Duration::from_secs(1);
    let switched = replica.leads();
    assert_ne!(switched.certificate(), first.certificate());
    assert_eq!(roots(&switched), 2);
    let alone = switched.trusting(&[switched.anchor().clone()]).unwrap();
    assert!(
        switched.root_pem().starts_with(alone.root_pem()),
        "the new one is first"
    );

    replica.now += 24 * HOUR - Duration::from_secs(1);
    assert_eq!(roots(&replica.leads()), 2);
    replica.now += Duration::from_secs(2);
    let last = replica.leads();
    assert_eq!(roots(&last), 1);
    assert_eq!(last.certificate(), switched.certificate());
}

#[test]
fn a_self_signed_root_gets_a_successor_before_it_ends() {
    let mut replica = Replica::new();
    replica.sees(secret::SELF_SIGNED, Some(own())).unwrap();
    let first = replica.leads();
    replica.now += crate::authority::ROOT_TTL.mul_f64(0.79);
    assert_eq!(roots(&replica.leads()), 1);
    replica.now += crate::authority::ROOT_TTL.mul_f64(0.02);
    assert_eq!(roots(&replica.leads()), 2);
    replica.now += PROPAGATION;
    assert_ne!(replica.leads().certificate(), first.certificate());
}

#[test]
fn a_restart_in_the_middle_goes_on_with_the_old_root() {
    let mut replica = Replica::new();
    let kept = secret::with_next(own(), String::new(), String::new());
    let (certificate, key) = make_root(&Options::default().trust_domain, replica.now).unwrap();
    let kept = secret::with_next(kept, certificate, key);
    // Not even a record of what is trusted is there.
    replica
        .sees(secret::SELF_SIGNED, Some(kept.clone()))
        .unwrap();
    let first = replica.leads();
    assert_eq!(
        first.certificate(),
        replica.keeper.own.as_ref().unwrap().certificate()
    );
    let mut again = replica.restarted(&[(secret::SELF_SIGNED, &kept)]);
    again.now += PROPAGATION / 2;
    assert_eq!(again.leads().certificate(), first.certificate());
    again.now += PROPAGATION / 2;
    assert_ne!(again.leads().certificate(), first.certificate());
}

#[test]
fn an_intermediate_of_a_trusted_root_signs_at_once_and_one_of_a_new_root_later() {
    let (old, new) = (Operator::new("Old"), Operator::new("New"));
    let mut replica = Replica::new();
    replica
        .sees(secret::PLUGGED_IN, Some(old.plugs_in("")))
        .unwrap();
    let first = replica.leads();
    assert_eq!(first.origin(), Origin::PluggedIn);
    replica.now += PROPAGATION;
    replica
        .sees(secret::PLUGGED_IN, Some(old.plugs_in("")))
        .unwrap();
    let second = replica.leads();
    assert_ne!(second.certificate(), first.certificate());

    replica
        .sees(secret::PLUGGED_IN, Some(new.plugs_in(&old.pem)))
        .unwrap();
    let both = replica.leads();
    assert_eq!(both.certificate(), second.certificate());
    assert_eq!(roots(&both), 2);
    replica.now += PROPAGATION;
    let switched = replica.leads();
    assert_ne!(switched.certificate(), second.certificate());

    // The operator forgets the old root early: certificates under it may still be about.
    replica
        .sees(secret::PLUGGED_IN, Some(new.plugs_in("")))
        .unwrap();
    assert_eq!(roots(&replica.leads()), 2);
    replica.now += 24 * HOUR;
    assert_eq!(roots(&replica.leads()), 1);
}

#[test]
fn a_plugged_in_authority_wins_once_its_root_is_known() {
    let operator = Operator::new("Root");
    let kept = own();
    let mut replica = Replica::new();
    replica
        .sees(secret::SELF_SIGNED, Some(kept.clone()))
        .unwrap();
    let first = replica.leads();
    let plugged_in = operator.plugs_in("");
    replica
        .sees(secret::PLUGGED_IN, Some(plugged_in.clone()))
        .unwrap();
    assert_eq!(replica.leads().certificate(), first.certificate());
    // Even over a restart.
    let secrets = [
        (secret::PLUGGED_IN, &plugged_in),
        (secret::SELF_SIGNED, &kept),
    ];
    let mut replica = replica.restarted(&secrets);
    assert_eq!(replica.leads().certificate(), first.certificate());
    replica.now += PROPAGATION;
    assert_eq!(replica.leads().origin(), Origin::PluggedIn);
    // The self-signed root is history, and stays so.
    let mut replica = replica.restarted(&secrets);
    assert_eq!(replica.leads().origin(), Origin::PluggedIn);
    replica.now += 25 * HOUR;
    assert_eq!(roots(&replica.leads()), 1);
}

#[test]
fn without_the_plugged_in_authority_a_self_signed_root_takes_over_in_time() {
    let operator = Operator::new("Root");
    let mut replica = Replica::new();
    let plugged_in = operator.plugs_in("");
    replica.sees(secret::PLUGGED_IN, Some(plugged_in)).unwrap();
    let first = replica.leads();
    replica.sees(secret::PLUGGED_IN, None).unwrap();
    let both = replica.leads();
    assert_eq!(both.certificate(), first.certificate());
    assert_eq!(roots(&both), 2);
    replica.now += PROPAGATION;
    assert_eq!(replica.leads().origin(), Origin::SelfSigned);
}

#[test]
fn a_broken_key_is_named_and_the_last_good_authority_stays() {
    let operator = Operator::new("Root");
    let mut replica = Replica::new();
    replica
        .sees(secret::PLUGGED_IN, Some(operator.plugs_in("")))
        .unwrap();
    let good = replica.leads();
    let mut broken = operator.plugs_in("");
    let data = broken.data.as_mut().unwrap();
    data.insert("ca-key.pem".to_owned(), ByteString(b"nonsense".to_vec()));
    let said = replica
        .sees(secret::PLUGGED_IN, Some(broken.clone()))
        .unwrap_err();
    assert!(
        said.contains("key ca-key.pem of Secret istio-system/cacerts"),
        "{said}"
    );
    assert_eq!(replica.leads().certificate(), good.certificate());

    broken.data.as_mut().unwrap().remove("ca-key.pem");
    let said = replica.sees(secret::PLUGGED_IN, Some(broken)).unwrap_err();
    assert!(
        said.contains("Secret istio-system/cacerts") && said.contains("without ca-key.pem"),
        "{said}"
    );

    let foreign = Operator::new("Other").plugs_in("");
    let mut mixed = operator.plugs_in("");
    let root = foreign.data.unwrap()["root-cert.pem"].clone();
    mixed
        .data
        .as_mut()
        .unwrap()
        .insert("root-cert.pem".to_owned(), root);
    let said = replica.sees(secret::PLUGGED_IN, Some(mixed)).unwrap_err();
    assert!(said.contains("not trusted by its root"), "{said}");
    assert_eq!(replica.leads().certificate(), good.certificate());
}

#[test]
fn a_deleted_root_is_written_again() {
    let mut replica = Replica::new();
    replica.sees(secret::SELF_SIGNED, Some(own())).unwrap();
    let first = replica.leads();
    replica.sees(secret::SELF_SIGNED, None).unwrap();
    replica.keeper.decide(replica.now).unwrap().unwrap();
    let writes = replica.keeper.writes(replica.now).unwrap();
    let [Write::Create(again)] = &writes[..] else {
        panic!("{} writes", writes.len());
    };
    assert_eq!(again.metadata.resource_version, None);
    let mut other = Replica::new();
    other
        .sees(secret::SELF_SIGNED, Some(again.clone()))
        .unwrap();
    assert_eq!(other.leads().certificate(), first.certificate());
}

#[test]
fn a_damaged_record_is_named() {
    let mut replica = Replica::new();
    let damaged = secret_of(trust::NAME, &[("roots.json", "[{}]".to_owned())]);
    let said = replica.sees(trust::NAME, Some(damaged)).unwrap_err();
    assert!(
        said.contains("key roots.json of Secret istio-system/citadel-trust"),
        "{said}"
    );
}
