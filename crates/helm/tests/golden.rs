//! What the charts render without any values, for review: a change shows as a diff of
//! `tests/golden`. `UPDATE_GOLDEN=1` rewrites it.

use std::path::Path;

use mesh_helm::{Chart, Release};
use serde_json::json;

#[test]
fn defaults_render_as_reviewed() {
    for (name, release) in [("meshd", "istiod"), ("gateway", "istio-ingressgateway")] {
        let chart = Chart::builtin(name).expect("built in");
        let release = Release::new(release, "istio-system");
        let objects = chart.render(&release, &json!({})).expect("renders");
        let text: String = objects
            .iter()
            .map(|object| {
                let manifest = serde_yaml::to_string(&object.manifest).expect("YAML");
                format!("---\n# {}\n{manifest}", object.source)
            })
            .collect();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &text).expect("written");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            golden == text,
            "{name} renders otherwise than {}: see the diff after UPDATE_GOLDEN=1",
            file.display()
        );
    }
}
