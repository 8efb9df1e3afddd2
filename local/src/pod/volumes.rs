//! The volumes of one pod: directories under `STATE/pods/UID/volumes`, mounted into containers.
//!
//! ConfigMaps, Secrets, the downward API and tokens are rendered to files again whenever what
//! they show changes; a `subPath` mount keeps what it had, as in Kubernetes.

mod render;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};

pub(crate) use render::{File, Sources, Tokens};

use crate::sandbox::{Mount, Source};
use crate::state::{self, StateError};

/// The volumes of one pod on disk.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    /// Where each volume's content is on this machine.
    paths: BTreeMap<String, PathBuf>,
    written: BTreeMap<String, BTreeMap<PathBuf, File>>,
    tokens: Tokens,
}

impl Volumes {
    /// No volumes yet; `root`: the pod's own directory.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            paths: BTreeMap::new(),
            written: BTreeMap::new(),
            tokens: Tokens::default(),
        }
    }

    /// Makes every volume and brings its content up to date. Call it again when something changed.
    ///
    /// # Errors
    /// What is missing or cannot be done, in one line, naming the volume; whatever was there stays.
    pub(crate) fn update(&mut self, pod: &Pod, sources: &Sources<'_>) -> Result<(), String> {
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            self.update_one(volume, sources)
                .map_err(|problem| format!("volume {}: {problem}", volume.name))?;
        }
        Ok(())
    }

    fn update_one(&mut self, volume: &Volume, sources: &Sources<'_>) -> Result<(), String> {
        if let Some(host) = &volume.host_path {
            let path = host_path(&host.path, host.type_.as_deref())?;
            self.paths.insert(volume.name.clone(), path);
            return Ok(());
        }
        let path = self.root.join("volumes").join(&volume.name);
        if volume.empty_dir.is_some() || volume.ephemeral_scratch() {
            if !self.paths.contains_key(&volume.name) {
                shared_dir(&path, 0o777).map_err(|error| error.to_string())?;
                self.paths.insert(volume.name.clone(), path);
            }
            return Ok(());
        }
        let files = render::files(volume, sources, &mut self.tokens)?;
        let old = self.written.get(&volume.name);
        if old != Some(&files) {
            write_files(&path, old, &files).map_err(|error| error.to_string())?;
            self.written.insert(volume.name.clone(), files);
        }
        self.paths.insert(volume.name.clone(), path);
        Ok(())
    }

    /// The mounts of a container. `expand`: `$(NAME)` of `subPathExpr`.
    ///
    /// # Errors
    /// The mount that cannot be made.
    pub(crate) fn mounts(
        &self,
        container: &Container,
        read_only_volumes: &dyn Fn(&str) -> bool,
        expand: &dyn Fn(&str) -> String,
    ) -> Result<Vec<Mount>, String> {
        container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| self.mount(mount, read_only_volumes, expand))
            .collect()
    }

    fn mount(
        &self,
        mount: &VolumeMount,
        read_only_volumes: &dyn Fn(&str) -> bool,
        expand: &dyn Fn(&str) -> String,
    ) -> Result<Mount, String> {
        let at = &mount.mount_path;
        if !at.starts_with('/') {
            return Err(format!(
                "volumeMounts {}: mountPath {at} is not absolute",
                mount.name
            ));
        }
        let base = self
            .paths
            .get(&mount.name)
            .ok_or_else(|| format!("volumeMounts: the pod has no volume {}", mount.name))?;
        let sub = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(sub), _) => sub.clone(),
            (None, Some(expression)) => expand(expression),
            (None, None) => String::new(),
        };
        if Path::new(&sub).is_absolute() || sub.split('/').any(|part| part == "..") {
            return Err(format!(
                "volumeMounts {}: subPath {sub} leaves the volume",
                mount.name
            ));
        }
        let path = if sub.is_empty() {
            base.clone()
        } else {
            base.join(&sub)
        };
        if !path.exists() {
            // As the kubelet: a missing subPath becomes a directory.
            shared_dir(&path, 0o777).map_err(|error| error.to_string())?;
        }
        Ok(Mount {
            path: PathBuf::from(at),
            source: Source::Host(path),
            read_only: mount.read_only == Some(true) || read_only_volumes(&mount.name),
        })
    }

    /// When a token has to be renewed, in seconds since 1970; `None` without tokens.
    pub(crate) fn next_renewal(&self) -> Option<u64> {
        self.tokens.next_renewal()
    }

    /// Removes everything.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.root.display(), %error, "cannot remove a pod's volumes");
        }
    }
}

/// Whether a volume is written by the platform only.
pub(crate) fn is_rendered(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

trait Scratch {
    fn ephemeral_scratch(&self) -> bool;
}

impl Scratch for Volume {
    /// A volume that names no source at all is an emptyDir (Kubernetes' default).
    fn ephemeral_scratch(&self) -> bool {
        let bare = Volume {
            name: self.name.clone(),
            ..Volume::default()
        };
        *self == bare
    }
}

fn host_path(path: &str, kind: Option<&str>) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    let wrong = |what: &str| Err(format!("hostPath {} {what}", path.display()));
    match kind.unwrap_or_default() {
        "DirectoryOrCreate" => fs::create_dir_all(&path)
            .map_err(|error| format!("hostPath {}: {error}", path.display()))?,
        "FileOrCreate" => drop(
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|error| format!("hostPath {}: {error}", path.display()))?,
        ),
        "Directory" if !path.is_dir() => return wrong("is not a directory"),
        "File" if !path.is_file() => return wrong("is not a file"),
        _ if !path.exists() => return wrong("does not exist on this machine"),
        _ => {}
    }
    Ok(path)
}

/// A directory that containers of any user may enter (and write, if `mode` says so). The state
/// directory above it keeps everyone else out.
fn shared_dir(path: &Path, mode: u32) -> Result<(), StateError> {
    state::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|source| StateError::new("set the mode of", path, source))
}

fn write_files(
    dir: &Path,
    old: Option<&BTreeMap<PathBuf, File>>,
    files: &BTreeMap<PathBuf, File>,
) -> Result<(), StateError> {
    shared_dir(dir, 0o755)?;
    for (name, file) in files {
        if old.and_then(|old| old.get(name)) == Some(file) {
            continue;
        }
        let path = dir.join(name);
        if let Some(parent) = path.parent().filter(|parent| *parent != dir) {
            shared_dir(parent, 0o755)?;
        }
        state::write_atomic(&path, &file.content, file.mode)?;
        // The mode given at creation is cut by the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
            .map_err(|source| StateError::new("set the mode of", &path, source))?;
    }
    for name in old.into_iter().flat_map(BTreeMap::keys) {
        if !files.contains_key(name) {
            state::remove_file(&dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
