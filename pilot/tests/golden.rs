//! What pilot makes of manifests, compared with files that are reviewed as they change.
//!
//! `golden/<case>/in.yaml` is the mesh. A pod with the annotation `golden/types: cds,lds` writes
//! `out.<pod>.<type>.json` (all resources of the type, by name); `golden/proxy: router` makes it a
//! gateway, `golden/interception: NONE` one without a redirect; `golden/only: a,b` keeps only the resources whose names begin so. `out.problems.txt` holds
//! the problems that the snapshot found.
//!
//! `UPDATE_GOLDEN=1 cargo test -p mesh-pilot --test golden` writes the files anew.

#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mesh_pilot::translate::ProxyKind;
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use world::{World, all};

const TYPES: [(&str, &str); 5] = [
    ("cds", CLUSTER),
    ("eds", ENDPOINT),
    ("lds", LISTENER),
    ("rds", ROUTE),
    ("sds", SECRET),
];

#[test]
fn translation_is_as_reviewed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("in.yaml").exists())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    let different: Vec<String> = cases.iter().flat_map(|case| check(case)).collect();
    assert!(
        different.is_empty(),
        "differs from the golden files (UPDATE_GOLDEN=1 writes them anew; then review the diff):\n{}",
        different.join("\n")
    );
}

/// The files of a case that differ from what pilot makes now.
fn check(case: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(case.join("in.yaml")).unwrap();
    let made = make(&World::default().load(&text));
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for old in std::fs::read_dir(case).unwrap() {
        let name = old.unwrap().file_name().into_string().unwrap();
        if name.starts_with("out.") && !made.contains_key(&name) {
            if update {
                std::fs::remove_file(case.join(&name)).unwrap();
            } else {
                different.push(format!("{}/{name} is no longer made", case.display()));
            }
        }
    }
    for (name, content) in made {
        let path = case.join(&name);
        if update {
            std::fs::write(&path, content).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != content {
            different.push(path.display().to_string());
        }
    }
    different
}

fn make(world: &World) -> BTreeMap<String, String> {
    let snapshot = world.snapshot();
    let mut out = BTreeMap::new();
    let problems: Vec<String> = snapshot
        .problems()
        .iter()
        .map(|p| format!("{p}\n"))
        .collect();
    if !problems.is_empty() {
        out.insert("out.problems.txt".to_owned(), problems.concat());
    }
    for pod in world.pods() {
        let note = |key: &str| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations
                .and_then(|a| a.get(key))
                .cloned()
                .unwrap_or_default()
        };
        let kind = if note("golden/proxy") == "router" {
            ProxyKind::Router
        } else {
            ProxyKind::Sidecar
        };
        let name = pod.metadata.name.as_deref().unwrap();
        let proxy = world.proxy(name, kind);
        let wanted = note("golden/types");
        let only = note("golden/only");
        for (short, type_url) in TYPES {
            if !wanted.split(',').any(|own| own == short) {
                continue;
            }
            let resources: BTreeMap<String, serde_json::Value> = all(&snapshot, &proxy, type_url)
                .into_iter()
                .filter(|r| only.is_empty() || only.split(',').any(|o| r.name.starts_with(o)))
                .map(|r| (r.name, mesh_xds::json::to_json(&r.body).unwrap()))
                .collect();
            let mut json = serde_json::to_string_pretty(&resources).unwrap();
            json.push('\n');
            out.insert(format!("out.{name}.{short}.json"), json);
        }
    }
    out
}
