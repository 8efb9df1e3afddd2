//! The charts under a real Helm: it finds nothing wrong with them, and renders the objects that
//! this crate renders.
//!
//! Helm is `$HELM`, or `helm` on the PATH, or the library helm-sdkpy of `$HELM_PYTHON` (or
//! `python3`), which also needs an API server, a private one. Without any of them the test says so
//! and passes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mesh_helm::{BUILTIN, Chart, Release};
use mesh_kubernetes::testing::ApiServer;
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "support/cases.rs"]
mod cases;

use cases::{Case, cases};

/// A Helm, and what it needs to run.
struct Helm {
    command: Vec<OsString>,
    server: Option<ApiServer>,
}

impl Helm {
    async fn find() -> Option<Self> {
        let variable = |name: &str, otherwise: &str| {
            std::env::var_os(name).unwrap_or_else(|| otherwise.into())
        };
        let works = |command: &[OsString], args: &[&str]| {
            let output = Command::new(&command[0])
                .args(&command[1..])
                .args(args)
                .output();
            output.is_ok_and(|output| output.status.success())
        };
        let program = vec![variable("HELM", "helm")];
        if works(&program, &["version"]) {
            return Some(Helm {
                command: program,
                server: None,
            });
        }
        let python = variable("HELM_PYTHON", "python3");
        if works(std::slice::from_ref(&python), &["-c", "import helm_sdkpy"]) {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/helm.py");
            let server = Box::pin(ApiServer::start()).await?;
            return Some(Helm {
                command: vec![python, script.into()],
                server: Some(server),
            });
        }
        eprintln!(
            "SKIPPED: no Helm; put `helm` on the PATH, set $HELM, or set $HELM_PYTHON to a Python \
             that has helm-sdkpy"
        );
        None
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.command[0]);
        if let Some(server) = &self.server {
            command.env("KUBECONFIG", server.kubeconfig_path());
        }
        let output = command.args(&self.command[1..]).args(args).output();
        output.expect("it ran a moment ago")
    }

    /// What Helm renders, in its order; `Err` with what it says when it refuses.
    fn render(&self, case: &Case) -> Result<Vec<Value>, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), case.values.to_string()).expect("written");
        let directory = directory(case.chart);
        let file = file.path().display().to_string();
        let release = &case.release;
        let mut args = vec!["template", &release.name, &directory];
        args.extend(["--namespace", &release.namespace, "--values", &file]);
        args.extend(["--kube-version", &release.capabilities.kube_version]);
        if release.upgrade {
            args.push("--is-upgrade");
        }
        let output = self.run(&args);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).expect("Helm prints UTF-8");
        assert_unambiguous(&text);
        let documents = serde_yaml::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).expect("Helm prints YAML"))
            .filter(|document| !document.is_null());
        Ok(documents.collect())
    }
}

fn directory(chart: &str) -> String {
    let charts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests/charts");
    charts.join(chart).display().to_string()
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

fn assert_renders_alike(helm: &Helm, case: &Case) {
    let expected = helm.render(case);
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

/// What only concerns the release, not the values.
fn releases() -> Vec<Case> {
    let case = |name: &str, release, values| Case {
        name: name.to_owned(),
        chart: "meshd",
        release,
        values,
    };
    let upgrade = Release {
        upgrade: true,
        ..Release::new("istiod", "istio-system")
    };
    let elsewhere = Release::new("other", "1234");
    vec![
        case("upgrade", upgrade, json!({})),
        case("elsewhere", elsewhere, json!({"revision": "1-2-3"})),
    ]
}

/// Values that the schema refuses.
fn refused() -> Vec<Case> {
    let case = |chart, values: Value| Case {
        name: values.to_string(),
        chart,
        release: Release::new("x", "istio-system"),
        values,
    };
    vec![
        case("meshd", json!({"globl": {}})),
        case("meshd", json!({"global": {"proxy": {"resuorces": {}}}})),
        case("meshd", json!({"autoscaleMin": "two"})),
        case("gateway", json!({"service": {"type": "External"}})),
        case("base", json!({"x": 1})),
    ]
}

/// One test: the API server that the library needs is started once.
#[tokio::test(flavor = "multi_thread")]
async fn charts_are_to_helm_what_they_are_to_us() {
    let Some(helm) = Helm::find().await else {
        return;
    };
    for chart in BUILTIN {
        let output = helm.run(&["lint", &directory(chart)]);
        assert!(output.status.success(), "{chart}: {output:?}");
    }
    for case in cases().iter().chain(&releases()) {
        assert_renders_alike(&helm, case);
    }
    for case in refused() {
        assert!(helm.render(&case).is_err(), "Helm takes {}", case.name);
        let ours = Chart::builtin(case.chart).expect("built in");
        let ours = ours.render(&case.release, &case.values);
        assert!(ours.is_err(), "we take {}", case.name);
    }
}
