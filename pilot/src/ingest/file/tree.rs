//! What is known of the files: which objects each defines, and what is wrong with it.
//!
//! Last good versions live here: an object that a file defined well and now defines badly
//! stays as it was, until the file defines it well again or no longer mentions it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::ingest::{Batch, Event, MeshConfigMap, ObjectKey, Problem, decode_all};
use crate::snapshot::Item;

/// Deeper trees are not read: a link that leads upwards must end somewhere.
const DEPTH_LIMIT: usize = 16;

/// Tells whether a file is still the one that was read.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    length_bytes: u64,
    inode: u64,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    objects: BTreeMap<ObjectKey, Item>,
    problems: Vec<Problem>,
}

/// All files under the roots.
#[derive(Debug)]
pub(super) struct Tree {
    roots: Vec<PathBuf>,
    settings: MeshConfigMap,
    files: BTreeMap<PathBuf, File>,
    /// The files that define each object; the first one counts.
    owners: BTreeMap<ObjectKey, BTreeSet<Place>>,
}

/// A file's rank among those that define one object: by root, then by path.
type Place = (usize, PathBuf);

/// What an update touched.
#[derive(Default)]
struct Touched {
    keys: BTreeSet<ObjectKey>,
    files: BTreeSet<PathBuf>,
}

impl Tree {
    pub(super) fn new(roots: Vec<PathBuf>, settings: MeshConfigMap) -> Self {
        Self {
            roots,
            settings,
            files: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    /// Compares everything with what is known.
    pub(super) fn rescan(&mut self) -> Batch {
        let mut present = BTreeMap::new();
        for root in &self.roots {
            walk(root, 0, &mut present);
        }
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !present.contains_key(*path))
            .cloned()
            .collect();
        let mut touched = Touched::default();
        for path in gone {
            self.forget(&path, &mut touched);
        }
        for (path, stamp) in present {
            if self.files.get(&path).is_none_or(|file| file.stamp != stamp) {
                self.load(path, stamp, &mut touched);
            }
        }
        self.report(touched)
    }

    /// Reads these files and directories anew, whatever their stamps.
    pub(super) fn update(&mut self, paths: BTreeSet<PathBuf>) -> Batch {
        let mut touched = Touched::default();
        let visible: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| self.visible(path)).collect();
        for path in visible {
            let mut present = BTreeMap::new();
            walk(&path, self.depth(&path), &mut present);
            let known = self.files.range(path.clone()..);
            let gone: Vec<PathBuf> = known
                .map(|(known, _)| known)
                .take_while(|known| known.starts_with(&path))
                .filter(|known| !present.contains_key(*known))
                .cloned()
                .collect();
            for path in gone {
                self.forget(&path, &mut touched);
            }
            for (path, stamp) in present {
                self.load(path, stamp, &mut touched);
            }
        }
        self.report(touched)
    }

    /// The part of a path that this tree looks at: nothing for a temporary file, the directory
    /// itself for the `..data` link that swaps a mounted ConfigMap's whole content.
    fn visible(&self, path: &Path) -> Option<PathBuf> {
        let root = self.roots.iter().find(|root| path.starts_with(root))?;
        let mut visible = root.clone();
        for part in path.strip_prefix(root).ok()?.components() {
            let name = part.as_os_str();
            if name.as_encoded_bytes().starts_with(b"..") {
                return Some(visible);
            }
            if is_hidden(name) {
                return None;
            }
            visible.push(name);
        }
        Some(visible)
    }

    fn depth(&self, path: &Path) -> usize {
        let within = self
            .roots
            .iter()
            .filter_map(|root| path.strip_prefix(root).ok());
        within
            .map(|rest| rest.components().count())
            .min()
            .unwrap_or(0)
    }

    fn place(&self, path: &Path) -> Place {
        let rank = self.roots.iter().position(|root| path.starts_with(root));
        (rank.unwrap_or(self.roots.len()), path.to_owned())
    }

    fn forget(&mut self, path: &Path, touched: &mut Touched) {
        let place = self.place(path);
        if let Some(file) = self.files.remove(path) {
            for key in file.objects.into_keys() {
                self.disown(key, &place, touched);
            }
        }
        touched.files.insert(path.to_owned());
    }

    fn disown(&mut self, key: ObjectKey, place: &Place, touched: &mut Touched) {
        if let Some(owners) = self.owners.get_mut(&key) {
            owners.remove(place);
            if owners.is_empty() {
                self.owners.remove(&key);
            }
        }
        touched.keys.insert(key);
    }

    fn load(&mut self, path: PathBuf, stamp: Stamp, touched: &mut Touched) {
        touched.files.insert(path.clone());
        let before = self
            .files
            .remove(&path)
            .map(|file| file.objects)
            .unwrap_or_default();
        let (objects, problems) = match std::fs::read_to_string(&path) {
            Ok(text) => decode(&text, &path, &before, &self.settings),
            Err(error) => (before.clone(), vec![unreadable(&path, &error)]),
        };
        let place = self.place(&path);
        for key in before.into_keys() {
            if !objects.contains_key(&key) {
                self.disown(key, &place, touched);
            }
        }
        for key in objects.keys() {
            self.owners
                .entry(key.clone())
                .or_default()
                .insert(place.clone());
            touched.keys.insert(key.clone());
        }
        self.files.insert(
            path,
            File {
                stamp,
                objects,
                problems,
            },
        );
    }

    /// The events and problems that follow from what was touched.
    fn report(&self, touched: Touched) -> Batch {
        let mut files = touched.files;
        let mut events = Vec::with_capacity(touched.keys.len());
        for key in touched.keys {
            let owners = self.owners.get(&key);
            // Whether another file's definition counts may have changed too.
            files.extend(owners.into_iter().flatten().map(|(_, path)| path.clone()));
            let item = owners
                .and_then(BTreeSet::first)
                .and_then(|(_, path)| self.files.get(path))
                .and_then(|file| file.objects.get(&key));
            events.push(match item {
                Some(item) => Event::Set(key, item.clone()),
                None => Event::Delete(key),
            });
        }
        let problems = files
            .into_iter()
            .map(|path| (path.display().to_string(), self.problems(&path)));
        Batch {
            events,
            problems: problems.collect(),
            synced: false,
        }
    }

    fn problems(&self, path: &Path) -> Vec<Problem> {
        let Some(file) = self.files.get(path) else {
            return Vec::new();
        };
        let mut problems = file.problems.clone();
        let place = self.place(path);
        for key in file.objects.keys() {
            let winner = self.owners.get(key).and_then(BTreeSet::first);
            if let Some((_, winner)) = winner.filter(|winner| **winner != place) {
                problems.push(Problem {
                    file: path.display().to_string(),
                    object: key.to_string(),
                    field: String::new(),
                    problem: format!("is also defined in {}, which counts", winner.display()),
                    remedy: "keep one of the two".to_owned(),
                });
            }
        }
        problems
    }
}

/// The objects of a text, with those of `before` that it now defines badly.
fn decode(
    text: &str,
    path: &Path,
    before: &BTreeMap<ObjectKey, Item>,
    settings: &MeshConfigMap,
) -> (BTreeMap<ObjectKey, Item>, Vec<Problem>) {
    let file = path.display().to_string();
    let manifests = decode_all(text, &file, settings);
    let mut problems = manifests.problems;
    let bad: BTreeSet<&str> = problems
        .iter()
        .map(|problem| problem.object.as_str())
        .collect();
    let mut objects: BTreeMap<ObjectKey, Item> = before
        .iter()
        .filter(|(key, _)| manifests.broken || bad.contains(key.to_string().as_str()))
        .map(|(key, item)| (key.clone(), item.clone()))
        .collect();
    let mut seen = BTreeSet::new();
    for (key, item) in manifests.items {
        if seen.insert(key.clone()) {
            objects.insert(key, item);
        } else {
            problems.push(Problem {
                file: file.clone(),
                object: key.to_string(),
                field: String::new(),
                problem: "is defined twice in this file; the first one counts".to_owned(),
                remedy: "keep one of the two".to_owned(),
            });
        }
    }
    (objects, problems)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem {
        file: path.display().to_string(),
        object: String::new(),
        field: String::new(),
        problem: format!("can't be read: {error}"),
        remedy: "check the file's permissions and that it is UTF-8 text".to_owned(),
    }
}

/// Collects the manifest files at and under `path`, links followed.
fn walk(path: &Path, depth: usize, found: &mut BTreeMap<PathBuf, Stamp>) {
    // What is gone by the time we look is simply not found.
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.is_file() {
        if is_manifest(path) {
            found.insert(path.to_owned(), stamp(&metadata));
        }
    } else if metadata.is_dir() && depth < DEPTH_LIMIT {
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten() {
            if !is_hidden(&entry.file_name()) {
                walk(&entry.path(), depth + 1, found);
            }
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    matches!(extension, "yaml" | "yml" | "json")
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        modified: metadata.modified().ok(),
        length_bytes: metadata.len(),
        inode: metadata.ino(),
    }
}
