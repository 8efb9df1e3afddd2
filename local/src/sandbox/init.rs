//! The hidden commands.

use std::process::ExitCode;

pub(super) fn dispatch() -> Option<ExitCode> {
    todo!()
}
