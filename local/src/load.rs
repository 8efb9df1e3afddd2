//! Reads the directories and files that say what shall run.
//!
//! Precedence of the same object in several places: `meshctl local apply` over the user's
//! directories over what the platform brings itself; among files of one place the last name wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::images::Images;
use crate::objects::decode::{self, Decoded};
use crate::objects::{Key, Manifest};

/// Where manifests come from.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Name and text of what the platform brings itself.
    pub(crate) built_in: Vec<(&'static str, String)>,
    /// The user's files and directories (their own files, not those of directories in them).
    pub(crate) given: Vec<PathBuf>,
    /// `STATE/applied`.
    pub(crate) applied: PathBuf,
    /// Images known without any file.
    pub(crate) images: Images,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded {
    /// What shall exist.
    pub(crate) manifests: BTreeMap<Key, Manifest>,
    /// Which executables images stand for.
    pub(crate) images: Arc<Images>,
    /// Objects refused, and files that cannot be read.
    pub(crate) errors: Vec<String>,
    /// Objects left out.
    pub(crate) warnings: Vec<String>,
}

/// Reads everything. An object that was good in `previous` and is now in a file with errors stays
/// as it was.
pub(crate) fn load(places: &Places, previous: &Loaded) -> Loaded {
    let mut loaded = Loaded::default();
    let mut images = places.images.clone();
    for (name, text) in &places.built_in {
        loaded.take(decode::decode(text, name, "default"), previous, name);
    }
    for place in &places.given {
        read_images(place, &mut images, &mut loaded.errors);
    }
    for place in places.given.iter().chain([&places.applied]) {
        for file in files_of(place, &mut loaded.errors) {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                // Removed between listing and reading.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    loaded
                        .errors
                        .push(format!("{}: cannot be read: {error}", file.display()));
                    continue;
                }
            };
            let name = file.display().to_string();
            loaded.take(decode::decode(&text, &name, "default"), previous, &name);
        }
    }
    loaded.images = Arc::new(images);
    loaded
}

/// Levels above a given place at which its `images.yaml` may be: `platform/kube/app.yaml` of a
/// sample is two below the sample's own.
const LEVELS: usize = 3;

/// Reads the `images.yaml` of a place: its own, or the nearest above it.
fn read_images(place: &Path, images: &mut Images, errors: &mut Vec<String>) {
    let dir = if place.is_dir() {
        Some(place)
    } else {
        place.parent()
    };
    let Some(dir) = dir else { return };
    let mut candidates = dir
        .ancestors()
        .take(LEVELS)
        .map(|dir| dir.join("images.yaml"));
    let Some(file) = candidates.find(|file| file.is_file()) else {
        images.set_default_file(&dir.join("images.yaml"));
        return;
    };
    let read = std::fs::read_to_string(&file)
        .map_err(|error| format!("{}: cannot be read: {error}", file.display()));
    errors.extend(read.and_then(|text| images.add(&file, &text)).err());
}

impl Loaded {
    fn take(&mut self, decoded: Decoded, previous: &Loaded, file: &str) {
        if !decoded.errors.is_empty() {
            let kept = previous
                .manifests
                .values()
                .filter(|manifest| manifest.source == file);
            for manifest in kept {
                self.manifests
                    .insert(manifest.key.clone(), manifest.clone());
            }
        }
        for manifest in decoded.manifests {
            self.manifests.insert(manifest.key.clone(), manifest);
        }
        self.errors.extend(decoded.errors);
        self.warnings.extend(decoded.warnings);
    }
}

fn files_of(place: &Path, errors: &mut Vec<String>) -> Vec<PathBuf> {
    if !place.is_dir() {
        return vec![place.to_owned()];
    }
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(format!("{}: cannot be listed: {error}", place.display()));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_manifest(path))
        .collect();
    files.sort();
    files
}

fn is_manifest(path: &Path) -> bool {
    let left_out = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b".") || name == "images.yaml");
    let extension = path.extension().and_then(|extension| extension.to_str());
    !left_out && matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(value: &str) -> String {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{x: {value}}}}}")
    }

    struct Fixture {
        dir: tempfile::TempDir,
        places: Places,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("given");
        let applied = dir.path().join("applied");
        for path in [&given, &applied, &given.join("networking")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let built_in = vec![("built in", config_map("built"))];
        let images = Images::default();
        Fixture {
            dir,
            places: Places {
                built_in,
                given: vec![given],
                applied,
                images,
            },
        }
    }

    impl Fixture {
        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.dir.path().join(path), text).unwrap();
        }

        fn value(&self, loaded: &Loaded) -> String {
            let mut values = loaded.manifests.values();
            values.next().unwrap().value["data"]["x"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    }

    #[test]
    fn applied_wins_over_given_over_built_in() {
        let fixture = fixture();
        let load = || load(&fixture.places, &Loaded::default());
        assert_eq!(fixture.value(&load()), "built");
        fixture.write("given/a.yaml", &config_map("given"));
        assert_eq!(fixture.value(&load()), "given");
        fixture.write("applied/a.yaml", &config_map("applied"));
        assert_eq!(fixture.value(&load()), "applied");
    }

    #[test]
    fn directories_below_and_hidden_files_are_not_read() {
        let fixture = fixture();
        fixture.write("given/networking/a.yaml", &config_map("below"));
        fixture.write("given/.a.yaml", &config_map("hidden"));
        fixture.write("given/README.md", "text");
        assert_eq!(
            fixture.value(&load(&fixture.places, &Loaded::default())),
            "built"
        );
    }

    #[test]
    fn an_object_outlives_a_mistake_in_its_file() {
        let fixture = fixture();
        fixture.write("given/a.yaml", &config_map("good"));
        let good = load(&fixture.places, &Loaded::default());
        fixture.write("given/a.yaml", "{ not yaml");
        let bad = load(&fixture.places, &good);
        assert_eq!(fixture.value(&bad), "good");
        assert_eq!(bad.errors.len(), 1);
        fixture.write("given/a.yaml", "");
        assert_eq!(fixture.value(&load(&fixture.places, &bad)), "built");
    }
}
