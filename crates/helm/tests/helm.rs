//! The charts under a real Helm: it finds nothing wrong with them, and renders the objects that
//! this crate renders.
//!
//! Helm is found by `$HELM` or on the PATH. Without one these tests say so and pass.

use std::path::PathBuf;
use std::process::{Command, Output};

use mesh_helm::{BUILTIN, Chart, Release};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "support/cases.rs"]
mod cases;

use cases::{Case, cases};

/// `helm ARGS`; `None` if there is no Helm.
fn helm(args: &[&str]) -> Option<Output> {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    match Command::new(&program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: no Helm; set $HELM or put `helm` on the PATH");
            None
        }
        Err(error) => panic!("run {}: {error}", program.display()),
    }
}

fn directory(chart: &str) -> String {
    let charts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests/charts");
    charts.join(chart).display().to_string()
}

/// What Helm renders, in its order; `Err` with what it says when it refuses.
fn by_helm(chart: &str, release: &Release, values: &Value) -> Option<Result<Vec<Value>, String>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), values.to_string()).expect("written");
    let directory = directory(chart);
    let file = file.path().display().to_string();
    let mut args = vec!["template", &release.name, &directory];
    args.extend(["--namespace", &release.namespace, "--values", &file]);
    args.extend(["--kube-version", &release.capabilities.kube_version]);
    if release.upgrade {
        args.push("--is-upgrade");
    }
    let output = helm(&args)?;
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8(output.stdout).expect("Helm prints UTF-8");
    assert_unambiguous(&text);
    let documents = serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("Helm prints YAML"))
        .filter(|document| !document.is_null());
    Some(Ok(documents.collect()))
}

/// Kubernetes reads YAML 1.1, in which some plain words are truth values; we read 1.2, in which
/// they are text. No template may leave one plain.
fn assert_unambiguous(text: &str) {
    for line in text.lines() {
        let (key, value) = line.rsplit_once(": ").unwrap_or((line, line));
        for word in [key, value].map(|part| part.trim_start_matches([' ', '-'])) {
            let word = word.to_lowercase();
            let ambiguous = ["y", "n", "yes", "no", "on", "off"].contains(&word.as_str());
            assert!(!ambiguous, "quote it: {line}");
        }
    }
}

fn assert_as_helm(case: &Case) {
    let Some(expected) = by_helm(case.chart, &case.release, &case.values) else {
        return;
    };
    let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let objects = Chart::builtin(case.chart)
        .expect("built in")
        .render(&case.release, &case.values)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let id = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let ours: Vec<String> = objects.iter().map(|object| id(&object.manifest)).collect();
    let helms: Vec<String> = expected.iter().map(id).collect();
    assert_eq!(ours, helms, "{}", case.name);
    for (object, expected) in objects.iter().zip(&expected) {
        assert_eq!(
            object.manifest, *expected,
            "{}: {}",
            case.name, object.source
        );
    }
}

#[test]
fn lints() {
    for chart in BUILTIN {
        let Some(output) = helm(&["lint", &directory(chart)]) else {
            return;
        };
        assert!(output.status.success(), "{chart}: {output:?}");
    }
}

#[test]
fn objects_are_helms() {
    for case in cases() {
        assert_as_helm(&case);
    }
}

#[test]
fn objects_of_an_upgrade_and_of_another_namespace_are_helms() {
    let release = Release::new("istiod", "istio-system");
    let case = |name: &str, release, values| Case {
        name: name.to_owned(),
        chart: "meshd",
        release,
        values,
    };
    let upgrade = Release {
        upgrade: true,
        ..release
    };
    assert_as_helm(&case("upgrade", upgrade, json!({})));
    let elsewhere = Release::new("other", "1234");
    assert_as_helm(&case("elsewhere", elsewhere, json!({"revision": "1-2-3"})));
}

/// Both refuse the same values.
#[test]
fn values_that_the_schema_refuses_are_refused_by_helm() {
    let release = Release::new("x", "istio-system");
    let cases = [
        ("meshd", json!({"globl": {}})),
        ("meshd", json!({"global": {"proxy": {"resuorces": {}}}})),
        ("meshd", json!({"autoscaleMin": "two"})),
        ("gateway", json!({"service": {"type": "External"}})),
        ("base", json!({"x": 1})),
    ];
    for (chart, values) in cases {
        let Some(refused) = by_helm(chart, &release, &values) else {
            return;
        };
        assert!(refused.is_err(), "Helm takes {values}");
        let ours = Chart::builtin(chart).expect("built in");
        assert!(ours.render(&release, &values).is_err(), "we take {values}");
    }
}
