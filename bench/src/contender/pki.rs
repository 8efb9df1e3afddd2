//! Certificates for the peers, from the same kind of authority and of the same kind as ours: P-256, one
//! SPIFFE id, signed by a root.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh_citadel::Authority;
use mesh_identity::{SpiffeId, csr};

use super::service_account;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The files of a run.
pub(super) struct Pki {
    /// The root's certificate.
    pub(super) root: PathBuf,
    /// The client's.
    pub(super) client: Pair,
    /// The server's.
    pub(super) server: Pair,
}

/// Certificate chain and key.
pub(super) struct Pair {
    /// PEM.
    pub(super) chain: PathBuf,
    /// PEM.
    pub(super) key: PathBuf,
    /// Both in one file, for programs that want that.
    pub(super) both: PathBuf,
}

impl Pki {
    /// Makes all files in a directory.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn create(directory: &Path) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let options = mesh_citadel::Options {
            trust_domain: mesh_identity::TrustDomain::default(),
            default_ttl: LIFETIME,
            max_ttl: LIFETIME,
        };
        let state = directory.join("authority");
        std::fs::create_dir_all(&state).context("make a directory for the authority")?;
        let authority = Authority::load_or_create(&state, options, now)?;
        let root = directory.join("root.pem");
        std::fs::write(&root, authority.root_pem()).context("write the root's certificate")?;
        Ok(Self {
            root,
            client: pair(&authority, directory, "client", now)?,
            server: pair(&authority, directory, "server", now)?,
        })
    }
}

fn pair(
    authority: &Authority,
    directory: &Path,
    name: &str,
    now: SystemTime,
) -> anyhow::Result<Pair> {
    let id: SpiffeId = service_account(name).parse()?;
    let (key, request) = csr::generate(&id)?;
    let issued = authority.sign(&request, &id, LIFETIME, now)?;
    let chain = issued.chain.concat();
    let key = pem(key.to_der().secret_der());
    let write = |ending: &str, text: &str| {
        let path = directory.join(format!("{name}.{ending}"));
        let written = std::fs::write(&path, text);
        written.with_context(|| format!("write {}", path.display()))?;
        anyhow::Ok(path)
    };
    Ok(Pair {
        chain: write("chain.pem", &chain)?,
        both: write("pem", &format!("{chain}{key}"))?,
        key: write("key.pem", &key)?,
    })
}

/// A PKCS #8 key as text.
fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END PRIVATE KEY-----\n"
}
