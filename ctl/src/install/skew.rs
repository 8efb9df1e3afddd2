//! Which version may follow which.

use anyhow::{Context, ensure};

/// Minor versions that an upgrade may go up: proxies of the last two still talk to the control plane.
const LARGEST_STEP: u64 = 2;

/// Whether a mesh of version `installed` may become one of version `next`.
///
/// # Errors
/// For a step back, or one over more than two minor versions.
pub(crate) fn check(installed: &str, next: &str) -> anyhow::Result<()> {
    let parts = |version: &str| {
        let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u64>);
        let mut number = || numbers.next().and_then(Result::ok);
        let parts = number().zip(number());
        parts
            .zip(number())
            .with_context(|| format!("{version:?} is no version such as 1.2.3"))
    };
    let (((major, minor), patch), ((new_major, new_minor), new_patch)) =
        (parts(installed)?, parts(next)?);
    ensure!(
        (major, minor, patch) <= (new_major, new_minor, new_patch),
        "version {installed} is installed, and this is meshctl {next}: use a meshctl of version {installed} or newer"
    );
    ensure!(
        major == new_major && new_minor - minor <= LARGEST_STEP,
        "version {installed} is installed, and {next} is more than {LARGEST_STEP} minor versions later: \
         upgrade with meshctl {major}.{} first, so that running proxies stay connected",
        minor + LARGEST_STEP
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_go_forward_by_at_most_two_minor_versions() {
        assert!(check("0.1.0", "0.1.0").is_ok());
        assert!(check("0.1.9", "0.3.0").is_ok());
        assert!(check("1.2.3-rc.1", "1.3.0").is_ok());
        let text = |from: &str, to: &str| check(from, to).unwrap_err().to_string();
        assert!(text("0.2.0", "0.1.5").contains("use a meshctl of version 0.2.0 or newer"));
        assert!(text("0.1.0", "0.4.0").contains("upgrade with meshctl 0.3 first"));
        assert!(text("latest", "0.4.0").contains("no version"));
    }
}
