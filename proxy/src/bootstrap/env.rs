//! Reading the environment.

mod identity;
mod settings;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Bootstrap, Role, duration};

pub(super) use settings::read;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A variable that has no default is unset.
    #[error("environment variable {name} is not set; the injector sets it from {source_hint}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// Where it usually comes from.
        source_hint: &'static str,
    },
    /// A variable has a bad value.
    #[error("environment variable {name}={value:?} is not valid: {reason}")]
    Invalid {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where settings come from; a trait so that tests need no real environment.
pub trait Source {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// All variables, for those found by prefix.
    fn variables(&self) -> Vec<(String, String)>;
    /// The text of a file.
    ///
    /// # Errors
    /// The system's error.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// Processors that may be used.
    fn processors(&self) -> usize;
}

struct Process;

impl Source for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Reads the process's environment and files.
///
/// # Errors
/// [`BootstrapError`] that names the variable at fault.
pub fn from_environment(role: Role) -> Result<Bootstrap, BootstrapError> {
    read(role, &Process)
}

/// Variables of the process, then those that `proxyMetadata` adds.
struct Variables<'a> {
    source: &'a dyn Source,
    proxy_metadata: BTreeMap<String, String>,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let value = self
            .source
            .variable(name)
            .or_else(|| self.proxy_metadata.get(name).cloned());
        value.filter(|value| !value.is_empty())
    }

    fn required(
        &self,
        name: &'static str,
        source_hint: &'static str,
    ) -> Result<String, BootstrapError> {
        self.get(name)
            .ok_or(BootstrapError::Missing { name, source_hint })
    }

    fn duration(&self, name: &'static str, default: Duration) -> Result<Duration, BootstrapError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => parse_duration(name, &value),
        }
    }

    fn port(&self, name: &'static str, default: u16) -> Result<u16, BootstrapError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| invalid(name, &value, "write a port from 1 to 65535")),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, BootstrapError> {
        match self.get(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(value) => Err(invalid(name, value, "write true or false")),
        }
    }
}

fn invalid(name: &str, value: &str, reason: impl std::fmt::Display) -> BootstrapError {
    BootstrapError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: reason.to_string(),
    }
}

fn parse_duration(name: &str, value: &str) -> Result<Duration, BootstrapError> {
    duration::parse(value)
        .ok_or_else(|| invalid(name, value, "write a duration such as 5s, 1m30s or 24h"))
}
