//! `cargo xtask images`: the container images without Docker.
//!
//! Each image is one layer with one static program and nothing else, as the Dockerfiles of
//! `images/` make them. They are written as archives that `ctr images import`, `docker load` and
//! `kind load image-archive` read. The same sources give the same bytes.

use std::fs::File;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Packages with the programs of the images.
const PACKAGES: [&str; 4] = ["meshd", "mesh-proxy", "bookinfo", "mesh-e2e"];
/// Who the mesh's own programs run as, unless the pod says otherwise.
const MESH_USER: &str = "1337:1337";
/// Who applications run as: never as the mesh, whose traffic is not captured.
const APPLICATION_USER: &str = "65532:65532";
/// Tables of further images, as the local platform reads them.
const TABLES: [&str; 2] = ["samples/bookinfo/images.yaml", "e2e/manifests/images.yaml"];

/// Options of `cargo xtask images`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Directory for the archives, one `NAME.tar` for each image.
    #[arg(long, default_value = "target/images")]
    out: PathBuf,
    /// Registry and path in front of `meshd` and `meshproxy`.
    #[arg(long, default_value = "localhost/mesh")]
    hub: String,
    /// Tag of `meshd` and `meshproxy`.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Build profile.
    #[arg(long, default_value = "release")]
    profile: String,
}

struct Image {
    /// Registry, path and tag.
    reference: String,
    /// The program's name, and the arguments in front of the container's own.
    command: Vec<String>,
    /// `NAME=VALUE` each.
    environment: Vec<String>,
    user: &'static str,
}

/// Builds the static programs and writes one archive for each image.
///
/// # Errors
/// When the build fails or an archive can't be written.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let programs = build(root, &options.profile)?;
    let out = root.join(&options.out);
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    for image in images(root, options)? {
        let program = image
            .command
            .first()
            .context("an image without a command")?;
        let name = image.name();
        let path = out.join(format!("{name}.tar"));
        let bytes = stripped(&programs.join(program), &out)?;
        write(&path, &image, &bytes).with_context(|| format!("write {}", path.display()))?;
        writeln!(
            anstream::stdout(),
            "{} ({:.1} MB) {}",
            image.reference,
            bytes.len() as f64 / 1e6,
            path.display()
        )?;
    }
    Ok(())
}

impl Image {
    /// The last part of the reference, without the tag.
    fn name(&self) -> &str {
        let last = self.reference.rsplit('/').next().unwrap_or_default();
        last.split(':').next().unwrap_or_default()
    }
}

/// Builds for the host's C library, linked statically: it resolves names without any file of
/// its own in the image. Returns the directory of the programs.
fn build(root: &Path, profile: &str) -> anyhow::Result<PathBuf> {
    // Named, so that build scripts and macros are built without the flag.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let directory = root.join("target/static");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--locked", "--bins", "--target", &target])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(&directory)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(root);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().context("run cargo build")?;
    ensure!(status.success(), "the static build failed: see above");
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(directory.join(target).join(folder))
}

/// The program without its debug sections, which are four fifths of it. Symbols stay, so that
/// backtraces name functions.
fn stripped(program: &Path, directory: &Path) -> anyhow::Result<Vec<u8>> {
    let bare = tempfile::NamedTempFile::new_in(directory)?;
    let status = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([bare.path(), program])
        .status()
        .context("run strip (it comes with the C compiler's binutils)")?;
    ensure!(status.success(), "strip {} failed", program.display());
    std::fs::read(bare.path()).with_context(|| format!("read {}", bare.path().display()))
}

fn images(root: &Path, options: &Options) -> anyhow::Result<Vec<Image>> {
    let own = ["meshd", "meshproxy"].map(|program| Image {
        reference: format!("{}/{program}:{}", options.hub, options.tag),
        command: vec![program.to_owned()],
        environment: Vec::new(),
        user: MESH_USER,
    });
    let mut images = Vec::from(own);
    for table in TABLES {
        let path = root.join(table);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let table: Value =
            serde_yaml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        for entry in table["images"]
            .as_array()
            .context("a table without images")?
        {
            images.push(listed(entry)?);
        }
    }
    Ok(images)
}

/// An image of a table: `image` ends in `:*`, which stands for every tag.
fn listed(entry: &Value) -> anyhow::Result<Image> {
    let name = entry["image"].as_str().context("an image without a name")?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    let command = entry["command"].as_array().context("no command")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let environment = entry["env"].as_object().into_iter().flatten();
    Ok(Image {
        reference: format!("docker.io/{name}:latest"),
        command: command.iter().filter_map(text).collect(),
        environment: environment
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect(),
        // The suites capture packets in their test application.
        user: if name.ends_with("/echo") {
            "0:0"
        } else {
            APPLICATION_USER
        },
    })
}

/// An archive in the format of `docker save`: configuration, one layer, manifest.
fn write(path: &Path, image: &Image, program: &[u8]) -> anyhow::Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    let file = image.command[0].as_str();
    append(&mut layer, file, program, 0o755)?;
    let layer = layer.into_inner()?;
    let layer_digest = digest(&layer);
    let mut entrypoint = image.command.clone();
    entrypoint[0] = format!("/{file}");
    // So that hooks and `kubectl exec` find the program by its name, as the injector calls it.
    let mut environment = vec!["PATH=/".to_owned()];
    environment.extend(image.environment.iter().cloned());
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": entrypoint,
            "Env": environment,
            "User": image.user,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", digest(&config));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [image.reference],
        "Layers": [layer_name],
    }]);
    let mut archive = tar::Builder::new(File::create(path)?);
    append(&mut archive, &config_name, &config, 0o644)?;
    append(&mut archive, &layer_name, &layer, 0o644)?;
    append(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&manifest)?,
        0o644,
    )?;
    archive.finish()?;
    Ok(())
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, Cursor::new(bytes))?;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_name_images_with_their_command_and_environment() {
        let entry = json!({"image": "mesh/reviews-v2:*", "command": ["bookinfo", "reviews"], "env": {"STAR_COLOR": "black"}});
        let image = listed(&entry).unwrap();
        assert_eq!(image.reference, "docker.io/mesh/reviews-v2:latest");
        assert_eq!(image.name(), "reviews-v2");
        assert_eq!(image.environment, ["STAR_COLOR=black"]);
    }

    #[test]
    fn an_archive_holds_manifest_configuration_and_layer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.tar");
        let image = listed(&json!({"image": "mesh/x:*", "command": ["x", "serve"]})).unwrap();
        write(&path, &image, b"program").unwrap();
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let mut files = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/x", "serve"]));
        assert_eq!(config["config"]["Env"], json!(["PATH=/"]));
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest(layer))
        );
    }
}
