//! The tree is asked directly; one test goes through real notifications.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::tree::Tree;
use super::*;
use crate::ingest::{Event, Problem};

fn rule(name: &str, weight: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  hosts: [{name}]\n  http:\n  - route:\n    - destination: {{host: {name}}}\n      weight: {weight}\n"
    )
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";

fn write(directory: &TempDir, path: &str, text: &str) -> PathBuf {
    let path = directory.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn tree(directory: &TempDir) -> Tree {
    Tree::new(
        vec![directory.path().canonicalize().unwrap()],
        MeshConfigMap::default(),
    )
}

fn update(tree: &mut Tree, path: &Path) -> Batch {
    let parent = path.parent().unwrap().canonicalize().unwrap();
    tree.update(BTreeSet::from([parent.join(path.file_name().unwrap())]))
}

/// `+Kind namespace/name` for what is set, `-...` for what is deleted.
fn events(batch: &Batch) -> Vec<String> {
    let one = |event: &Event| match event {
        Event::Set(key, _) => format!("+{key}"),
        Event::Delete(key) => format!("-{key}"),
    };
    batch.events.iter().map(one).collect()
}

fn problems(batch: &Batch) -> Vec<&Problem> {
    batch
        .problems
        .iter()
        .flat_map(|(_, problems)| problems)
        .collect()
}

#[test]
fn reads_any_tree_with_several_documents_per_file() {
    let directory = TempDir::new().unwrap();
    write(
        &directory,
        "x/y/all.yaml",
        &format!("{SERVICE}---\n{}", rule("a", "1")),
    );
    write(&directory, ".hidden.yaml", &rule("hidden", "1"));
    write(&directory, "..data/inner.yaml", &rule("inner", "1"));
    write(&directory, "notes.txt", "not yaml: [");
    let batch = tree(&directory).rescan();
    assert_eq!(
        events(&batch),
        ["+Service default/a", "+VirtualService default/a"]
    );
    assert_eq!(problems(&batch).len(), 0, "{:?}", problems(&batch));
}

#[test]
fn a_bad_document_names_file_field_and_object_and_the_last_good_one_stays() {
    let directory = TempDir::new().unwrap();
    let path = write(
        &directory,
        "a.yaml",
        &format!("{}---\n{SERVICE}", rule("a", "1")),
    );
    let mut tree = tree(&directory);
    assert_eq!(tree.rescan().events.len(), 2);

    let worse = format!("{}---\n{}", rule("a", "many"), SERVICE.replace("80", "81"));
    std::fs::write(&path, worse).unwrap();
    let batch = update(&mut tree, &path);
    assert_eq!(
        events(&batch),
        ["+Service default/a", "+VirtualService default/a"]
    );
    let problem = problems(&batch)[0];
    assert!(problem.file.contains("a.yaml"), "{problem}");
    assert_eq!(problem.object, "VirtualService default/a");
    assert!(
        problem.field.contains("http[0].route[0].weight"),
        "{problem}"
    );

    std::fs::write(&path, rule("a", "2")).unwrap();
    let batch = update(&mut tree, &path);
    assert_eq!(problems(&batch).len(), 0);
    assert_eq!(
        events(&batch),
        ["-Service default/a", "+VirtualService default/a"]
    );
}

#[test]
fn a_bad_kubernetes_object_is_refused_by_field() {
    let directory = TempDir::new().unwrap();
    write(&directory, "a.yaml", &SERVICE.replace("80", "eighty"));
    let batch = tree(&directory).rescan();
    assert_eq!(batch.events.len(), 0);
    let problem = problems(&batch)[0];
    assert_eq!(problem.object, "Service default/a");
    assert!(problem.field.contains("spec.ports[0].port"), "{problem}");
}

#[test]
fn a_file_that_is_no_yaml_keeps_everything_it_held() {
    let directory = TempDir::new().unwrap();
    let path = write(
        &directory,
        "a.yaml",
        &format!("{SERVICE}---\n{}", rule("a", "1")),
    );
    let mut tree = tree(&directory);
    tree.rescan();
    std::fs::write(&path, "kind: [Service\n").unwrap();
    let batch = update(&mut tree, &path);
    assert_eq!(
        events(&batch)
            .iter()
            .filter(|event| event.starts_with('-'))
            .count(),
        0
    );
    assert_eq!(problems(&batch).len(), 1);
}

#[test]
fn of_two_definitions_the_first_counts_until_it_goes() {
    let directory = TempDir::new().unwrap();
    let first = write(&directory, "1.yaml", &rule("a", "1"));
    let second = write(&directory, "2.yaml", &rule("a", "2"));
    let mut tree = tree(&directory);
    let batch = tree.rescan();
    assert_eq!(events(&batch), ["+VirtualService default/a"]);
    assert!(problems(&batch)[0].file.ends_with("2.yaml"));

    std::fs::remove_file(&first).unwrap();
    let batch = update(&mut tree, &first);
    assert_eq!(events(&batch), ["+VirtualService default/a"]);
    assert_eq!(problems(&batch).len(), 0);

    std::fs::remove_file(&second).unwrap();
    assert_eq!(
        events(&update(&mut tree, &second)),
        ["-VirtualService default/a"]
    );
}

#[test]
fn a_removed_directory_takes_its_objects_along() {
    let directory = TempDir::new().unwrap();
    write(&directory, "sub/deep/a.yaml", SERVICE);
    write(&directory, "sub-other.yaml", &rule("a", "1"));
    let mut tree = tree(&directory);
    tree.rescan();
    let sub = directory.path().join("sub");
    std::fs::remove_dir_all(&sub).unwrap();
    assert_eq!(events(&update(&mut tree, &sub)), ["-Service default/a"]);
}

#[test]
fn a_rescan_finds_what_was_not_told() {
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "a.yaml", SERVICE);
    let mut tree = tree(&directory);
    tree.rescan();
    assert_eq!(tree.rescan().events.len(), 0);
    std::fs::remove_file(path).unwrap();
    write(&directory, "b.yaml", &rule("b", "1"));
    let batch = tree.rescan();
    assert_eq!(
        events(&batch),
        ["-Service default/a", "+VirtualService default/b"]
    );
}

#[test]
fn mesh_settings_come_from_the_config_map_alone() {
    let directory = TempDir::new().unwrap();
    let map = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\ndata:\n  mesh: |\n    outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}\n"
        )
    };
    write(&directory, "a.yaml", &map("istio"));
    write(&directory, "b.yaml", &map("other"));
    assert_eq!(
        events(&tree(&directory).rescan()),
        ["+MeshConfig istio-system/istio"]
    );
}

async fn next(receiver: &mut mpsc::Receiver<(&'static str, Batch)>) -> Batch {
    let received = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await;
    received
        .expect("a batch comes")
        .expect("the source lives")
        .1
}

#[tokio::test]
async fn notifications_lead_to_batches_also_in_new_directories() {
    let directory = TempDir::new().unwrap();
    write(&directory, "a.yaml", SERVICE);
    let source = FileSource::new(&[directory.path().to_owned()], MeshConfigMap::default()).unwrap();
    let (sender, mut receiver) = mpsc::channel(4);
    let task = tokio::spawn(Box::new(source).run(Sink::new("files", sender)));
    let batch = next(&mut receiver).await;
    assert!(batch.synced);
    assert_eq!(events(&batch), ["+Service default/a"]);

    let temporary = write(&directory, "new/deep/.b.yaml.tmp", &rule("b", "1"));
    std::fs::rename(temporary, directory.path().join("new/deep/b.yaml")).unwrap();
    let batch = next(&mut receiver).await;
    assert!(!batch.synced);
    assert_eq!(events(&batch), ["+VirtualService default/b"]);

    drop(receiver);
    tokio::time::timeout(Duration::from_secs(10), task)
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn a_missing_directory_is_an_error_that_names_it() {
    let error =
        FileSource::new(&[PathBuf::from("/no/such/place")], MeshConfigMap::default()).unwrap_err();
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}
