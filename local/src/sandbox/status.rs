//! What the hidden commands tell the process that started them: JSON lines over a pipe.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Exit, SpawnError};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    /// The program is executing.
    Started,
    /// The program could not be executed.
    NotExecuted {
        path: PathBuf,
        errno: Option<i32>,
        message: String,
    },
    /// A step before failed.
    NotSetUp {
        step: String,
        errno: Option<i32>,
        message: String,
    },
    /// The program has ended.
    Ended(Exit),
}

impl Event {
    pub(super) fn failure(error: &SpawnError) -> Event {
        match error {
            SpawnError::Exec { path, source } => Event::NotExecuted {
                path: path.clone(),
                errno: source.raw_os_error(),
                message: source.to_string(),
            },
            SpawnError::Setup { step, source } => Event::NotSetUp {
                step: step.clone(),
                errno: source.raw_os_error(),
                message: source.to_string(),
            },
        }
    }

    /// Writes the event as one line; a parent that is gone cannot be told.
    pub(super) fn tell(&self, pipe: &mut impl Write) {
        let line = serde_json::to_string(self).expect("an event is strings and numbers");
        let _ = writeln!(pipe, "{line}");
    }

    /// The event as the result of starting.
    pub(super) fn started(self) -> Result<(), SpawnError> {
        match self {
            Event::Started => Ok(()),
            Event::NotExecuted {
                path,
                errno,
                message,
            } => Err(SpawnError::Exec {
                path,
                source: error(errno, message),
            }),
            Event::NotSetUp {
                step,
                errno,
                message,
            } => Err(SpawnError::Setup {
                step,
                source: error(errno, message),
            }),
            Event::Ended(exit) => Err(SpawnError::setup("start the container")(io::Error::other(
                format!("its first process ended with {}", exit.code()),
            ))),
        }
    }
}

fn error(errno: Option<i32>, message: String) -> io::Error {
    errno.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error)
}
