//! What the charts are tried with.

use std::path::Path;

use mesh_helm::{BUILTIN, PROFILES, Release, profile};
use serde_json::{Value, json};

/// A chart and what it is rendered with.
pub(crate) struct Case {
    /// For messages.
    pub(crate) name: String,
    pub(crate) chart: &'static str,
    pub(crate) release: Release,
    pub(crate) values: Value,
}

/// Each chart with its defaults, with what each profile says to it, and with each file of values
/// in `tests/values/CHART`.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, chart, release: &str, values| {
        cases.push(Case {
            name,
            chart,
            release: Release::new(release, "istio-system"),
            values,
        });
    };
    for chart in BUILTIN {
        let release = format!("istio-{chart}");
        add(format!("{chart}, defaults"), chart, &release, json!({}));
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/values");
        let files = std::fs::read_dir(directory.join(chart))
            .into_iter()
            .flatten();
        let mut files: Vec<_> = files.map(|file| file.expect("listed").path()).collect();
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).expect("readable");
            let values = serde_yaml::from_str(&text).expect("YAML");
            let name = file.file_stem().expect("a name").to_string_lossy();
            add(format!("{chart}, {name}"), chart, &release, values);
        }
    }
    for name in PROFILES {
        for (chart, release, values) in parts(&profile(name).expect("built in")) {
            add(
                format!("profile {name}, {release}"),
                chart,
                &release,
                values,
            );
        }
    }
    cases
}

/// What a profile says to each chart that it switches on, with the release's name, as
/// `meshctl install` takes it apart.
pub(crate) fn parts(profile: &Value) -> Vec<(&'static str, String, Value)> {
    let mut rest = profile.as_object().expect("a map").clone();
    let mut parts = Vec::new();
    let mut take = |chart, name: &str, values: Value| {
        let mut values = values.as_object().cloned().unwrap_or_default();
        if values.remove("enabled") != Some(false.into()) {
            parts.push((chart, name.to_owned(), Value::Object(values)));
        }
    };
    take(
        "base",
        "istio-base",
        rest.remove("base").unwrap_or_default(),
    );
    let gateways = rest.remove("gateways").unwrap_or_default();
    take("meshd", "istiod", Value::Object(rest));
    for (name, values) in gateways.as_object().into_iter().flatten() {
        take("gateway", name, values.clone());
    }
    parts
}
