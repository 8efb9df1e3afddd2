//! Charts from directories, and what is wrong with them.

use mesh_helm::{BUILTIN, Chart, Release};
use serde_json::json;

#[test]
fn there_is_no_other_chart() {
    let error = Chart::builtin("istiod").expect_err("unknown").to_string();
    assert_eq!(
        error,
        "there is no built-in chart \"istiod\"; there are base, meshd, gateway"
    );
}

#[test]
fn a_directory_gives_what_is_built_in() {
    let charts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/charts");
    for name in BUILTIN {
        let loaded = Chart::load(&std::path::Path::new(charts).join(name)).expect("loads");
        let release = Release::new("x", "istio-system");
        let objects = loaded.render(&release, &json!({})).expect("renders");
        let builtin = Chart::builtin(name).expect("built in");
        let expected = builtin.render(&release, &json!({})).expect("renders");
        assert_eq!(objects, expected, "{name}");
    }
}

#[test]
fn a_broken_chart_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: &str| {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let load = || Chart::load(directory.path()).map_err(|error| error.to_string());
    assert!(load().expect_err("empty").contains("has no Chart.yaml"));
    write("Chart.yaml", "name: toy");
    write("values.yaml", "a: [");
    write("values.schema.json", "{}");
    assert!(load().expect_err("malformed").contains("/values.yaml: "));
    write("values.yaml", "a: 1");
    write(".helmignore", "*.orig");
    write("Chart.yaml", "{name: toy, dependencies: [{name: other}]}");
    assert!(load().expect_err("nested").contains("install it by Helm"));
    write("Chart.yaml", "name: toy");
    let render = |template: &str| {
        write("templates/it.yaml", template);
        let chart = load().expect("loads");
        let objects = chart.render(&Release::new("toy", "default"), &json!({}));
        objects.expect_err(template).to_string()
    };
    assert_eq!(
        render("a: {{ randAlpha 5 }}"),
        "template toy/templates/it.yaml is not in the dialect that meshctl and Helm share: line 1, column 7: function randAlpha not defined"
    );
    assert!(render("a: [").starts_with(
        "template toy/templates/it.yaml rendered something that is no Kubernetes object: "
    ));
    assert!(
        render("kind: Pod")
            .contains("apiVersion, kind or metadata.name is missing in {\"kind\":\"Pod\"}")
    );
}
