//! The cluster of `KUBECONFIG`, by `kubectl`.

use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use crate::platform::Ran;

/// Runs kubectl.
///
/// # Errors
/// When it can't be started.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<Ran> {
    let output = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("start kubectl (is it on the PATH?)")?;
    Ok(output.into())
}

/// What kubectl printed.
///
/// # Errors
/// With what it said, when it failed.
pub(crate) fn checked(arguments: &[&str]) -> anyhow::Result<String> {
    run(arguments)?.success(&format!("kubectl {}", arguments.join(" ")))
}

/// `kubectl get ARGUMENTS`, as JSON.
///
/// # Errors
/// As [`checked`].
pub(crate) fn get(arguments: &[&str]) -> anyhow::Result<Value> {
    let text = checked(&[&["get", "-o", "json"], arguments].concat())?;
    serde_json::from_str(&text).context("kubectl printed no JSON")
}
