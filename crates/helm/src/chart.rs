//! A chart: its files, built in or from a directory.

use std::collections::BTreeMap;
use std::path::Path;

use rust_embed::RustEmbed;
use serde_json::Value;

use crate::error::ChartError;

/// The charts that are part of this program, in the order in which they are installed.
pub const BUILTIN: &[&str] = &["base", "meshd", "gateway"];

#[derive(RustEmbed)]
#[folder = "../../manifests/charts"]
struct Builtin;

/// A chart, read and parsed but not yet rendered.
#[derive(Debug, Clone)]
pub struct Chart {
    /// `Chart.yaml`.
    metadata: Value,
    /// `values.yaml`, parsed and as it stands.
    values: Value,
    values_text: String,
    /// `values.schema.json`.
    schema: Value,
    /// Files below `templates/` by their path in the chart.
    templates: BTreeMap<String, String>,
    /// All other files by their path in the chart.
    files: BTreeMap<String, String>,
}

impl Chart {
    /// A chart that is part of this program: one of [`BUILTIN`].
    ///
    /// # Errors
    /// [`ChartError::Unknown`] for any other name.
    pub fn builtin(name: &str) -> Result<Self, ChartError> {
        if !BUILTIN.contains(&name) {
            return Err(ChartError::Unknown {
                kind: "chart",
                name: name.to_owned(),
                known: BUILTIN.to_vec(),
            });
        }
        let inside = format!("{name}/");
        let mut files = BTreeMap::new();
        for path in Builtin::iter() {
            if let (Some(below), Some(file)) = (path.strip_prefix(&inside), Builtin::get(&path)) {
                files.insert(below.to_owned(), text(name, below, file.data.into_owned())?);
            }
        }
        Chart::new(name, files)
    }

    /// The chart in a directory.
    ///
    /// # Errors
    /// [`ChartError`] if a file cannot be read, is missing or malformed.
    pub fn load(directory: &Path) -> Result<Self, ChartError> {
        let shown = directory.display().to_string();
        let mut files = BTreeMap::new();
        read(&shown, directory, "", &mut files)?;
        Chart::new(&shown, files)
    }

    fn new(shown: &str, mut files: BTreeMap<String, String>) -> Result<Self, ChartError> {
        let mut take = |file: &'static str| {
            files.remove(file).ok_or_else(|| ChartError::Missing {
                chart: shown.to_owned(),
                file,
            })
        };
        let metadata = yaml(shown, "Chart.yaml", &take("Chart.yaml")?)?;
        let values_text = take("values.yaml")?;
        let schema = take("values.schema.json")?;
        let schema = serde_json::from_str(&schema)
            .map_err(|error| malformed(shown, "values.schema.json", error))?;
        let (templates, files): (BTreeMap<_, _>, BTreeMap<_, _>) = files
            .into_iter()
            .partition(|(path, _)| path.starts_with("templates/"));
        if metadata["name"].as_str().is_none() {
            return Err(malformed(shown, "Chart.yaml", "it has no name"));
        }
        let nested = |path: &String| path.starts_with("charts/") || path.starts_with("crds/");
        if files.keys().any(nested) || metadata.get("dependencies").is_some() {
            let reason =
                "charts/, crds/ and dependencies are not rendered here: install it by Helm";
            return Err(malformed(shown, "Chart.yaml", reason));
        }
        Ok(Chart {
            metadata,
            values: yaml(shown, "values.yaml", &values_text)?,
            values_text,
            schema,
            templates,
            files,
        })
    }

    /// Name of the chart, from its `Chart.yaml`.
    pub fn name(&self) -> &str {
        self.metadata["name"]
            .as_str()
            .expect("Chart::new checked that there is a name")
    }

    /// Version of the chart, from its `Chart.yaml`; empty if it has none.
    pub fn version(&self) -> &str {
        self.metadata["version"].as_str().unwrap_or_default()
    }

    /// The default values.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// The file `values.yaml`: the default values with their explanations.
    pub fn values_text(&self) -> &str {
        &self.values_text
    }

    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }

    pub(crate) fn schema(&self) -> &Value {
        &self.schema
    }

    pub(crate) fn templates(&self) -> &BTreeMap<String, String> {
        &self.templates
    }

    pub(crate) fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }
}

/// Reads the files in `directory` into `files`, by `prefix` and their path below it.
fn read(
    shown: &str,
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), ChartError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ChartError::Read { path, source }
    };
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let entry = entry.map_err(failed(directory))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // .helmignore, and what editors and version control leave behind.
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read(shown, &path, &format!("{name}/"), files)?;
        } else {
            let content = std::fs::read(&path).map_err(failed(&path))?;
            files.insert(name.clone(), text(shown, &name, content)?);
        }
    }
    Ok(())
}

fn text(chart: &str, file: &str, content: Vec<u8>) -> Result<String, ChartError> {
    String::from_utf8(content).map_err(|error| malformed(chart, file, error))
}

fn yaml(chart: &str, file: &str, text: &str) -> Result<Value, ChartError> {
    serde_yaml::from_str(text).map_err(|error| malformed(chart, file, error))
}

fn malformed(chart: &str, file: &str, reason: impl ToString) -> ChartError {
    ChartError::Malformed {
        file: format!("{chart}/{file}"),
        reason: reason.to_string(),
    }
}
