//! Roots beside the one that the authority sent with our certificate: those of the mounted file
//! (ConfigMap `istio-ca-root-cert`). It changes when the mesh's root is replaced, long before our
//! certificate must be renewed, and peers with certificates of the new root are already about.

use std::path::PathBuf;
use std::time::Duration;

use mesh_identity::WorkloadCertificate;
use mesh_identity::bundle::{BundleError, TrustBundle};
use mesh_identity::certificate::to_pem;

/// How often the file is looked at. Mounted ConfigMaps are exchanged by renaming a link, which
/// change notification on the file itself does not see.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file and what was in it.
#[derive(Debug)]
pub struct RootsFile {
    path: PathBuf,
    seen: Option<Vec<u8>>,
}

impl RootsFile {
    /// Reads the file; one that is not there has no roots.
    pub fn open(path: PathBuf) -> Self {
        let seen = std::fs::read(&path).ok();
        Self { path, seen }
    }

    /// Waits until there is other text in the file. A file that is gone is on its way back.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Ok(text) = std::fs::read(&self.path)
                && self.seen.as_ref() != Some(&text)
            {
                self.seen = Some(text);
                return;
            }
        }
    }

    /// `certificate` with the file's roots trusted too. Without a usable file it stays as it is,
    /// and our log says why.
    pub fn add_to(&self, certificate: &WorkloadCertificate) -> WorkloadCertificate {
        let Some(text) = &self.seen else {
            return certificate.clone();
        };
        joined(certificate, text).unwrap_or_else(|error| {
            let path = self.path.display();
            tracing::warn!(%path, %error, "roots of the file are not trusted");
            certificate.clone()
        })
    }
}

fn joined(
    certificate: &WorkloadCertificate,
    pem: &[u8],
) -> Result<WorkloadCertificate, BundleError> {
    let domain = certificate.id().trust_domain();
    let mut bundle = certificate.bundle().clone();
    let own = bundle.roots(&domain);
    let found = TrustBundle::from_pem(&domain, pem)?;
    let new = found
        .roots(&domain)
        .iter()
        .filter(|root| !own.contains(root));
    let all: String = own.iter().chain(new).map(|root| to_pem(root)).collect();
    bundle.insert(&domain, all.as_bytes())?;
    Ok(certificate.with_bundle(bundle))
}

#[cfg(test)]
mod tests {
    use mesh_identity::{PrivateKey, peer};
    use rcgen::string::Ia5String;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
    use rustls_pki_types::UnixTime;

    use super::*;

    /// A root in PEM and a certificate that it has signed.
    fn authority() -> (String, WorkloadCertificate) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::default();
        let id = "spiffe://cluster.local/ns/default/sa/a";
        leaf.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id).unwrap())];
        let chain = leaf.signed_by(&key, &issuer).unwrap().pem();
        let key = PrivateKey::from_pkcs8_der(key.serialize_der());
        let certificate =
            WorkloadCertificate::from_pem(chain.as_bytes(), &key, root.as_bytes()).unwrap();
        (root, certificate)
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_root_in_the_file_is_trusted_beside_the_authoritys() {
        let (old_root, ours) = authority();
        let (new_root, theirs) = authority();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root-cert.pem");
        std::fs::write(&path, &old_root).unwrap();

        let mut file = RootsFile::open(path.clone());
        let trusts = |certificate: &WorkloadCertificate, peer: &WorkloadCertificate| {
            peer::verify(peer.chain(), certificate.bundle(), UnixTime::now()).is_ok()
        };
        let before = file.add_to(&ours);
        assert!(trusts(&before, &ours) && !trusts(&before, &theirs));
        let domain = ours.id().trust_domain();
        assert_eq!(before.bundle().roots(&domain).len(), 1);

        std::fs::write(&path, old_root + &new_root).unwrap();
        file.changed().await;
        let after = file.add_to(&ours);
        assert!(trusts(&after, &ours) && trusts(&after, &theirs));

        std::fs::write(&path, "no certificate").unwrap();
        file.changed().await;
        assert!(trusts(&file.add_to(&ours), &ours));
    }
}
