//! Image names and the executables that stand for them.
//!
//! `images.yaml` files in the given directories hold a list (by itself or under `images:`) of
//! `{image: PATTERN, command: [EXE, ARGS...], env: {}}`. A pattern is an image name whose tag may
//! be left out or end in `*`, and whose registry may be `*`. The command is what the image's
//! ENTRYPOINT would be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The images known without any file.
const BUILT_IN: &str = include_str!("../../manifests/local/images.yaml");

/// One entry of an `images.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Image name; without a tag it means every tag, `name:1.*` every tag with that start, and
    /// `*/name` that name in every registry.
    pub image: String,
    /// Program and first arguments.
    pub command: Vec<String>,
    /// Variables that the image would set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Why an image has no executable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No entry names it.
    #[error("image {image} stands for no local executable: add to {} the entry `- {{image: {}, command: [PROGRAM]}}`", .file.display(), untagged(.image))]
    Unknown {
        /// The image asked for.
        image: String,
        /// The file to add it to.
        file: PathBuf,
    },
    /// Its entry names a program that isn't there.
    #[error("image {image} stands for {executable}, which is neither {} nor in PATH (build it, or correct the entry in {})", places(.tried), .file.display())]
    Missing {
        /// The image asked for.
        image: String,
        /// The program of its entry.
        executable: String,
        /// Where it was looked for.
        tried: Vec<PathBuf>,
        /// The file that names it.
        file: PathBuf,
    },
}

/// What to run for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute path of the executable.
    pub executable: PathBuf,
    /// Arguments that precede those of the container, unless it has its own command.
    pub arguments: Vec<String>,
    /// Variables that the image would set.
    pub env: BTreeMap<String, String>,
}

/// All known images.
#[derive(Debug, Clone, Default)]
pub struct Images {
    entries: Vec<(Entry, PathBuf)>,
    bin_dir: PathBuf,
    search_path: Vec<PathBuf>,
    default_file: PathBuf,
}

impl Images {
    /// The built-in entries (the mesh's own programs and Istio's Bookinfo) and nothing else.
    /// `bin_dir`: directory of the running meshctl. `search_path`: of `PATH`.
    #[must_use]
    pub fn built_in(bin_dir: &Path, search_path: Vec<PathBuf>) -> Self {
        let entries = entries_of(BUILT_IN).expect("the built-in list is right: a test reads it");
        Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry, PathBuf::new()))
                .collect(),
            bin_dir: bin_dir.to_owned(),
            search_path,
            default_file: PathBuf::from("images.yaml"),
        }
    }

    /// Adds the entries of a file; entries of files added later win over earlier ones.
    ///
    /// # Errors
    /// What is wrong with the text, with file and position.
    pub fn add(&mut self, file: &Path, text: &str) -> Result<(), String> {
        let entries = entries_of(text).map_err(|error| {
            format!(
                "{}: {error} (expected a list of {{image: NAME, command: [PROGRAM, ARGS...], env: {{}}}})",
                file.display()
            )
        })?;
        if let Some(entry) = entries.iter().find(|entry| entry.command.is_empty()) {
            return Err(format!(
                "{}: image {}: command is empty (name a program)",
                file.display(),
                entry.image
            ));
        }
        self.default_file = file.to_owned();
        self.entries
            .extend(entries.into_iter().map(|entry| (entry, file.to_owned())));
        Ok(())
    }

    /// The file to name when an image is unknown and no `images.yaml` has been read.
    pub fn set_default_file(&mut self, file: &Path) {
        self.default_file = file.to_owned();
    }

    /// The program of an image.
    ///
    /// # Errors
    /// [`ImageError`]; both texts say which file to change.
    pub fn resolve(&self, image: &str) -> Result<Program, ImageError> {
        let best = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, (entry, _))| Some((rank(&entry.image, image)?, index)))
            .max();
        let Some((_, index)) = best else {
            let file = self.default_file.clone();
            return Err(ImageError::Unknown {
                image: image.to_owned(),
                file,
            });
        };
        let (entry, file) = &self.entries[index];
        let name = &entry.command[0];
        let candidates = self.candidates(name, file);
        let executable = candidates.iter().find(|path| is_executable(path));
        match executable {
            Some(executable) => Ok(Program {
                executable: executable.clone(),
                arguments: entry.command[1..].to_vec(),
                env: entry.env.clone(),
            }),
            None => Err(ImageError::Missing {
                image: image.to_owned(),
                executable: name.clone(),
                tried: candidates.into_iter().take(2).collect(),
                file: file.clone(),
            }),
        }
    }

    fn candidates(&self, name: &str, file: &Path) -> Vec<PathBuf> {
        if Path::new(name).is_absolute() {
            return vec![PathBuf::from(name)];
        }
        let beside = file.parent().unwrap_or(Path::new(""));
        let mut all = vec![self.bin_dir.join(name), beside.join(name)];
        if !name.contains('/') {
            all.extend(self.search_path.iter().map(|dir| dir.join(name)));
        }
        all
    }
}

fn entries_of(text: &str) -> Result<Vec<Entry>, serde_yaml::Error> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text)?;
    if let Some(list) = value.get_mut("images") {
        value = std::mem::take(list);
    }
    if value.is_null() {
        return Ok(Vec::new());
    }
    serde_yaml::from_value(value)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// How well a pattern matches: the whole name before its end, then the longer start of a tag;
/// `None` if not at all.
fn rank(pattern: &str, image: &str) -> Option<(bool, usize)> {
    let (pattern_name, pattern_tag) = split_tag(pattern);
    let (image_name, image_tag) = split_tag(image);
    let anywhere = pattern_name.strip_prefix("*/");
    let named = match anywhere {
        Some(name) => image_name.rsplit('/').next() == Some(name),
        None => normal(pattern_name) == normal(image_name),
    };
    if !named {
        return None;
    }
    let tagged = match pattern_tag {
        None => Some(0),
        Some(tag) => match tag.strip_suffix('*') {
            Some(start) => image_tag
                .unwrap_or("latest")
                .starts_with(start)
                .then_some(1 + start.len()),
            None => (image_tag.unwrap_or("latest") == tag).then_some(usize::MAX),
        },
    };
    Some((anywhere.is_none(), tagged?))
}

/// `docker.io/` and `docker.io/library/` may be left out, as everywhere.
fn normal(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

fn split_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before the last slash belongs to a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

fn untagged(image: &str) -> &str {
    split_tag(image).0
}

fn places(tried: &[PathBuf]) -> String {
    let places: Vec<String> = tried
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    places.join(" nor ")
}

/// The command line of a container: its `command` replaces the image's whole command, its `args`
/// alone are appended to it (an image's CMD does not exist here).
#[must_use]
pub fn command_line(
    program: &Program,
    command: Option<&[String]>,
    args: Option<&[String]>,
) -> Vec<String> {
    let mut line: Vec<String> = match command {
        Some(command) if !command.is_empty() => command.to_vec(),
        _ => {
            let mut line = vec![program.executable.to_string_lossy().into_owned()];
            line.extend(program.arguments.iter().cloned());
            line
        }
    };
    line.extend(args.unwrap_or_default().iter().cloned());
    line
}

#[cfg(test)]
mod tests;
