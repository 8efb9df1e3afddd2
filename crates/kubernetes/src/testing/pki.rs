//! The certificates and keys of a private API server, as files.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

/// File name of the serving certificate.
pub(super) const SERVER_CERTIFICATE: &str = "server.crt";
/// File name of the serving certificate's key.
pub(super) const SERVER_KEY: &str = "server.key";

/// File name of the authority's certificate.
pub(super) const AUTHORITY: &str = "ca.crt";
/// File name of the private key that signs tokens of service accounts.
pub(super) const ACCOUNTS_KEY: &str = "accounts.key";
/// File name of its public key.
pub(super) const ACCOUNTS_PUBLIC_KEY: &str = "accounts.pub";

/// An authority and where its files are.
pub(super) struct Pki {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Writes the authority's and the server's certificate and the key of service accounts.
    pub(super) fn create(directory: &Path) -> Pki {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, new_key()).expect("sign ourselves");
        let pki = Pki {
            directory: directory.to_owned(),
            authority,
        };
        write(&pki.file(AUTHORITY), &pki.authority.pem());
        let accounts = new_key();
        write(&pki.file(ACCOUNTS_KEY), &accounts.serialize_pem());
        write(&pki.file(ACCOUNTS_PUBLIC_KEY), &accounts.public_key_pem());
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let server = CertificateParams::new(names.map(String::from)).expect("valid names");
        pki.issue("server", &server);
        pki
    }

    /// One of the files named above.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a certificate of `user` in `group`, and a kubeconfig with it.
    pub(super) fn kubeconfig(&self, port: u16, user: &str, group: Option<&str>) -> PathBuf {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, user);
        // A distinguished name of rcgen holds one value of each type.
        if let Some(group) = group {
            name.push(DnType::OrganizationName, group);
        }
        self.issue(user, &params);
        let file = |suffix: &str| self.file(&format!("{user}.{suffix}"));
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": self.file(AUTHORITY),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": file("crt"),
                "client-key": file("key"),
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        });
        let path = file("kubeconfig");
        write(&path, &kubeconfig.to_string());
        path
    }

    /// Writes `NAME.crt` and `NAME.key`.
    fn issue(&self, name: &str, params: &CertificateParams) {
        let key = new_key();
        let certificate = params
            .signed_by(&key, &self.authority)
            .expect("sign what we made");
        write(&self.file(&format!("{name}.crt")), &certificate.pem());
        write(&self.file(&format!("{name}.key")), &key.serialize_pem());
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("make a key")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write into the temporary directory");
}
