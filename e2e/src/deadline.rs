//! Waiting for a condition, never for the clock.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks `condition` until it holds; `what` names it in the error.
///
/// # Errors
/// When it has not held by `within`, with its last error.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("not within {within:?}: {what}"));
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// Like [`eventually`], for a condition that is true or false.
///
/// # Errors
/// When it has not held by `within`.
pub fn eventually_true(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    eventually(what, within, || {
        if condition()? {
            Ok(())
        } else {
            bail!("still false")
        }
    })
}
