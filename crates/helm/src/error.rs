//! What can go wrong between a chart and its objects.

use std::path::PathBuf;

/// A chart that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// No chart or profile of that name is built in.
    #[error("there is no built-in {kind} {name:?}; there are {}", known.join(", "))]
    Unknown {
        /// `chart` or `profile`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A file of the chart cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that a chart must have is missing.
    #[error(
        "chart {chart} has no {file} (a chart is a directory with Chart.yaml, values.yaml, values.schema.json and templates/)"
    )]
    Missing {
        /// Name or directory of the chart.
        chart: String,
        /// The missing file.
        file: &'static str,
    },
    /// A file of the chart is not what it should be.
    #[error("{file}: {reason}")]
    Malformed {
        /// Chart and file, such as `meshd/values.yaml`.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

/// Objects that cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The values have a key that the chart does not know.
    #[error(
        "chart {chart} has no value {path:?}{} (`meshctl manifest values {chart}` or `helm show values` prints all of them)",
        nearest.as_ref().map(|key| format!(": did you mean {key:?}?")).unwrap_or_default()
    )]
    UnknownValue {
        /// Name of the chart.
        chart: String,
        /// Where the key stands, such as `global.proxy.resuorces`.
        path: String,
        /// Where the key that was probably meant stands.
        nearest: Option<String>,
    },
    /// A value is of the wrong type or out of its range.
    #[error(
        "chart {chart}: {}{reason}",
        if path.is_empty() { String::new() } else { format!("value {path:?}: ") }
    )]
    InvalidValue {
        /// Name of the chart.
        chart: String,
        /// Where the value stands; empty for the values as a whole.
        path: String,
        /// What the schema demands.
        reason: String,
    },
    /// A template does not parse: its syntax is wrong, or it uses a function outside the dialect.
    #[error("template {template} is not in the dialect that meshctl and Helm share: {reason}")]
    Dialect {
        /// Chart and file, such as `meshd/templates/service.yaml`.
        template: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A template gave up, by `fail` or `required` or by a mistake in it.
    #[error("template {template}: {reason}")]
    Template {
        /// Chart and file.
        template: String,
        /// What is wrong.
        reason: String,
    },
    /// What a template rendered is not a Kubernetes object.
    #[error("template {template} rendered something that is no Kubernetes object: {reason}")]
    NotAnObject {
        /// Chart and file.
        template: String,
        /// What is wrong.
        reason: String,
    },
}
