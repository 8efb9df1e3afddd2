//! Certificates for tests, and a TLS client that the tests did not write: curl.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::Mesh;

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
pub(super) struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A certificate for `name`.
    pub(super) fn issue(&self, name: &str) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?;
        Ok(Pair {
            certificate: certificate.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Pair {
    /// A Secret for the ingress gateway; `clients`: who signs clients' certificates.
    pub(super) fn secret(&self, name: &str, clients: Option<&Authority>) -> String {
        let indent = |text: &str| text.replace('\n', "\n    ");
        let mut secret = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\n\
             type: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
            indent(&self.certificate),
            indent(&self.key),
        );
        if let Some(clients) = clients {
            secret += &format!("  ca.crt: |\n    {}\n", indent(&clients.pem));
        }
        secret
    }
}

/// curl, towards the ingress gateway's HTTPS port.
pub(super) struct Curl {
    gateway: SocketAddr,
    directory: TempDir,
}

/// What curl got.
#[derive(Debug)]
pub(super) struct Answer {
    /// `000` if the connection failed.
    status: String,
    pub(super) version: String,
    pub(super) body: String,
    error: String,
}

impl Curl {
    /// `None`, said aloud, where there is no curl.
    pub(super) fn new(mesh: &Mesh) -> anyhow::Result<Option<Self>> {
        if Command::new("curl").arg("--version").output().is_err() {
            eprintln!("SKIPPED: no curl on PATH, the gateway's TLS is not tested");
            return Ok(None);
        }
        Ok(Some(Self {
            gateway: mesh.platform.ingress_https()?,
            directory: tempfile::tempdir()?,
        }))
    }

    /// GET of `path` at `host`, trusting `authority`, showing `pair`.
    pub(super) fn get(
        &self,
        host: &str,
        path: &str,
        authority: Option<&Authority>,
        pair: Option<&Pair>,
        options: &[&str],
    ) -> anyhow::Result<Answer> {
        let (ip, port) = (self.gateway.ip(), self.gateway.port());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10"]);
        curl.args(["--write-out", "\n%{http_code} %{http_version}"]);
        curl.args(["--resolve", &format!("{host}:{port}:{ip}")])
            .args(options);
        if let Some(authority) = authority {
            curl.arg("--cacert")
                .arg(self.file("ca.pem", &authority.pem)?);
        }
        if let Some(pair) = pair {
            curl.arg("--cert")
                .arg(self.file("client.pem", &pair.certificate)?);
            curl.arg("--key").arg(self.file("client.key", &pair.key)?);
        }
        let output = curl
            .arg(format!("https://{host}:{port}{path}"))
            .output()
            .context("start curl")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, told) = text.rsplit_once('\n').context("curl told nothing")?;
        let (status, version) = told.split_once(' ').context("curl told no version")?;
        Ok(Answer {
            status: status.to_owned(),
            version: version.to_owned(),
            body: body.to_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Answer {
    pub(super) fn expect_status(&self, status: &str) -> anyhow::Result<()> {
        ensure!(self.status == status, "{self:?}");
        Ok(())
    }

    /// The connection came to nothing: no HTTP was spoken.
    pub(super) fn expect_refused(&self) -> anyhow::Result<()> {
        ensure!(self.status == "000" && !self.error.is_empty(), "{self:?}");
        Ok(())
    }
}
