//! Start of structured logging, with a level that can be changed while the process runs.

use std::io;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Time, level, target, message, fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "log filter {filter:?} is not valid: {reason} (write for example info,mesh_proxy=debug)"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logging was started before, or has ended.
    #[error("logging cannot be set up: {reason}")]
    State {
        /// What the subscriber said.
        reason: String,
    },
}

/// Changes the log level of the running process. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    reload: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Sets a new filter, such as `debug` or `info,mesh_proxy=trace`.
    ///
    /// # Errors
    /// [`LogError::Filter`] if it cannot be read (the old one stays); [`LogError::State`] if
    /// logging has ended.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        self.reload.reload(parsed).map_err(|error| LogError::State {
            reason: error.to_string(),
        })
    }

    /// The filter in force, as text.
    pub fn current(&self) -> String {
        self.reload
            .with_current(ToString::to_string)
            .unwrap_or_else(|_| "off".to_owned())
    }
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogHandle({})", self.current())
    }
}

/// Starts logging to standard error for the whole process; call once, first thing in `main`.
///
/// `filter`: as in [`LogHandle::set`]. Standard output stays free for the access log.
///
/// # Errors
/// [`LogError::Filter`] if the filter cannot be read, [`LogError::State`] on a second call.
pub fn init(format: Format, filter: &str) -> Result<LogHandle, LogError> {
    let (filter, reload) = reload::Layer::new(parse(filter)?);
    let writer = BoxMakeWriter::new(io::stderr);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| LogError::State {
        reason: error.to_string(),
    })?;
    Ok(LogHandle { reload })
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let ours: Vec<String> = filter.split(',').map(level_in_our_words).collect();
    EnvFilter::try_new(ours.join(",")).map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

/// Envoy's `warning` and `critical` in our words: as they are, they would be taken for the
/// names of modules that log everything.
fn level_in_our_words(directive: &str) -> String {
    let (target, level) = match directive.rsplit_once('=') {
        Some((target, level)) => (Some(target), level),
        None => (None, directive),
    };
    let level = match level.trim() {
        "warning" => "warn",
        "critical" => "error",
        other => other,
    };
    match target {
        Some(target) => format!("{target}={level}"),
        None => level.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_once_and_changes_its_level() {
        let handle = init(Format::Text, "info").unwrap();
        assert_eq!(handle.current(), "info");
        handle.set("mesh_proxy=debug").unwrap();
        assert_eq!(handle.current(), "mesh_proxy=debug");
        assert!(matches!(
            handle.set("mesh_proxy=loud=3"),
            Err(LogError::Filter { .. })
        ));
        assert_eq!(handle.current(), "mesh_proxy=debug");
        handle.set("warning,mesh_proxy=critical").unwrap();
        assert!(handle.current().contains("warn") && handle.current().contains("mesh_proxy=error"));
        assert!(matches!(
            init(Format::Json, "info"),
            Err(LogError::State { .. })
        ));
    }
}
