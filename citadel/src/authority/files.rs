//! The authority's files: read, check for completeness, write atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mesh_identity::TrustDomain;

use super::{AuthorityError, Material, Origin, Part, make_root};

/// Certificate and key in one file, so that there is no moment with only one of them.
const SELF_SIGNED: &str = "citadel-root.pem";
/// Istio's names in the secret `cacerts`.
const PLUGGED_IN: [&str; 4] = [
    "ca-cert.pem",
    "ca-key.pem",
    "root-cert.pem",
    "cert-chain.pem",
];

/// Reads the plugged-in authority; `None` if none of its files is there.
pub(super) fn plugged_in(directory: &Path) -> Result<Option<Material>, AuthorityError> {
    let mut texts = Vec::with_capacity(PLUGGED_IN.len());
    for name in PLUGGED_IN {
        texts.push(read(&directory.join(name))?);
    }
    let missing: Vec<&str> = PLUGGED_IN
        .into_iter()
        .zip(&texts)
        .filter(|(_, text)| text.is_none())
        .map(|(name, _)| name)
        .collect();
    if missing.len() == PLUGGED_IN.len() {
        return Ok(None);
    }
    let texts: Option<Vec<String>> = texts.into_iter().collect();
    let Some(Ok(texts)) = texts.map(<[String; 4]>::try_from) else {
        return Err(AuthorityError::Incomplete {
            place: directory.display().to_string(),
            missing: missing.join(", "),
        });
    };
    warn_if_open(&directory.join(PLUGGED_IN[1]));
    let mut names = PLUGGED_IN.into_iter();
    let [certificate, key, root, chain] = texts.map(|text| {
        let name = names.next().unwrap_or_default();
        part(&directory.join(name), text)
    });
    Ok(Some(Material {
        origin: Origin::PluggedIn,
        certificate,
        key,
        chain,
        root,
    }))
}

/// Reads the self-signed root; `None` if it was never made.
pub(super) fn self_signed(directory: &Path) -> Result<Option<Material>, AuthorityError> {
    let path = directory.join(SELF_SIGNED);
    let Some(text) = read(&path)? else {
        return Ok(None);
    };
    warn_if_open(&path);
    Ok(Some(self_signed_material(&path, &text)))
}

/// Makes a root and writes it. Refuses to replace a file that is there.
pub(super) fn create(
    directory: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Material, AuthorityError> {
    let (certificate, key) = make_root(trust_domain, now)?;
    let text = certificate + &key;
    let path = directory.join(SELF_SIGNED);
    let failed = |source| AuthorityError::Write {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(directory).map_err(failed)?;
    write_new(&path, text.as_bytes()).map_err(failed)?;
    Ok(self_signed_material(&path, &text))
}

/// `text`: certificate and key.
fn self_signed_material(path: &Path, text: &str) -> Material {
    Material {
        origin: Origin::SelfSigned,
        certificate: part(path, text.to_owned()),
        key: part(path, text.to_owned()),
        chain: part(path, String::new()),
        root: part(path, certificates_of(text)),
    }
}

fn part(path: &Path, text: String) -> Part {
    Part {
        place: path.display().to_string(),
        text,
    }
}

/// Writes a file that must not exist yet: temporary file, flush to disk, link, flush the
/// directory. A crash leaves either nothing or the whole.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = PathBuf::from(path).into_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        // A link, unlike a rename, fails if another process was faster.
        fs::hard_link(&temporary, path)
    })();
    // What is left of a failed attempt, or the second name of a good one.
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:o}", mode & 0o777), "others can read the authority's key");
    }
}

/// The certificates of a text that also holds a key.
fn certificates_of(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut certificates = String::new();
    let mut rest = text;
    while let Some((start, end)) = rest
        .find(BEGIN)
        .zip(rest.find(END))
        .filter(|(start, end)| start < end)
    {
        certificates.push_str(&rest[start..end + END.len()]);
        certificates.push('\n');
        rest = &rest[end + END.len()..];
    }
    certificates
}
