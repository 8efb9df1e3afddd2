//! Pairs `golden/NAME.in.yaml` (a case and a pod) and `golden/NAME.out.yaml` (the injected pod).
//!
//! `UPDATE_GOLDEN=1 cargo test -p mesh-injector` writes the outputs anew; review the difference.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/case.rs"]
mod support;

use std::path::{Path, PathBuf};

use mesh_injector::{Outcome, inject};
use serde_json::Value;
use support::Case;

fn inputs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".in.yaml"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// The pod of a case after its patch.
fn injected(case: &Case) -> Value {
    let context = case.context();
    let patch = match inject(&case.pod, &context) {
        Ok(Outcome::Patch(patch)) => patch,
        other => panic!("not injected: {other:?}"),
    };
    let mut pod = case.pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

#[test]
fn pods_are_injected_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    for input in inputs() {
        let case = Case::parse(&std::fs::read_to_string(&input).unwrap());
        let found = serde_yaml::to_string(&injected(&case)).unwrap();
        let output = PathBuf::from(input.to_string_lossy().replace(".in.yaml", ".out.yaml"));
        if update {
            std::fs::write(&output, &found).unwrap();
        } else if std::fs::read_to_string(&output).unwrap_or_default() != found {
            differing.push(format!("{}:\n{found}", output.display()));
        }
    }
    assert!(
        differing.is_empty(),
        "run with UPDATE_GOLDEN=1 and review the difference\n{}",
        differing.join("\n")
    );
}

#[test]
fn an_injected_pod_is_left_alone() {
    for input in inputs() {
        let mut case = Case::parse(&std::fs::read_to_string(&input).unwrap());
        case.pod = injected(&case);
        let again = inject(&case.pod, &case.context()).unwrap();
        assert_eq!(
            again,
            Outcome::Skip(mesh_injector::Reason::AlreadyInjected),
            "{}",
            input.display()
        );
    }
}

#[test]
fn the_same_pod_gives_the_same_patch() {
    for input in inputs() {
        let case = Case::parse(&std::fs::read_to_string(&input).unwrap());
        let first = inject(&case.pod, &case.context()).unwrap();
        assert_eq!(first, inject(&case.pod, &case.context()).unwrap());
    }
}

/// Every object of every output must be one that Kubernetes accepts in this respect: names are
/// unique within their list, mounts have a volume.
#[test]
fn injected_pods_are_consistent() {
    for input in inputs() {
        let case = Case::parse(&std::fs::read_to_string(&input).unwrap());
        let pod = injected(&case);
        let names = |list: &str| -> Vec<String> {
            let items = pod["spec"][list].as_array().into_iter().flatten();
            items
                .map(|item| item["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let mut containers = [names("containers"), names("initContainers")].concat();
        let volumes = names("volumes");
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                    let name = mount["name"].as_str().unwrap();
                    assert!(
                        volumes.iter().any(|v| v == name),
                        "{}: {name}",
                        input.display()
                    );
                }
            }
        }
        containers.sort();
        let count = containers.len();
        containers.dedup();
        assert_eq!(containers.len(), count, "{}", input.display());
    }
}
