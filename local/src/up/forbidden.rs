//! Why this machine forbids namespaces, and what to change.

use std::io;

use mesh_sys::process::{IsolateError, Step};

use super::UpError;

const USERNS_CLONE: &str = "kernel/unprivileged_userns_clone";
const MAX_USERNS: &str = "user/max_user_namespaces";
const APPARMOR: &str = "kernel/apparmor_restrict_unprivileged_userns";

/// Turns a failed start into an error that tells what to do.
pub(super) fn explain(error: IsolateError) -> UpError {
    let step = match error.step {
        Step::Namespaces => "making namespaces",
        Step::IdMaps => "mapping the user id into a user namespace",
        Step::Mounts => "making mounts private in a user namespace",
        Step::Start => return UpError::io("start the inner process")(error.source),
    };
    let setting = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse().ok()
    };
    UpError::Forbidden {
        step,
        remedy: remedy(&error.source, setting),
        source: error.source,
    }
}

/// `setting`: the value of a sysctl, if this kernel has it.
fn remedy(error: &io::Error, setting: impl Fn(&str) -> Option<u64>) -> String {
    let sysctl = |name: &str, value: u32| {
        let name = name.replace('/', ".");
        format!("allow it with `sudo sysctl -w {name}={value}`, or run as root")
    };
    if setting(USERNS_CLONE) == Some(0) {
        return sysctl(USERNS_CLONE, 1);
    }
    if setting(MAX_USERNS) == Some(0) || error.raw_os_error() == Some(nix::libc::ENOSPC) {
        return sysctl(MAX_USERNS, 15_000);
    }
    if setting(APPARMOR) == Some(1) {
        let rest = "or give this program an AppArmor profile with `userns,`";
        return format!("{}, {rest}", sysctl(APPARMOR, 0));
    }
    "no sysctl forbids it, so a container runtime's seccomp or capability limits probably do: run outside \
     the container, or start the container with `--privileged`"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy_with(name: &'static str, value: u64, errno: i32) -> String {
        let setting = |asked: &str| (asked == name).then_some(value);
        remedy(&io::Error::from_raw_os_error(errno), setting)
    }

    #[test]
    fn names_the_setting_that_forbids_namespaces() {
        let eperm = nix::libc::EPERM;
        assert!(remedy_with(USERNS_CLONE, 0, eperm).contains("kernel.unprivileged_userns_clone=1"));
        assert!(remedy_with(MAX_USERNS, 0, eperm).contains("user.max_user_namespaces=15000"));
        assert!(remedy_with("", 0, nix::libc::ENOSPC).contains("user.max_user_namespaces=15000"));
        assert!(
            remedy_with(APPARMOR, 1, eperm).contains("apparmor_restrict_unprivileged_userns=0")
        );
        assert!(remedy_with("", 0, eperm).contains("container"));
    }
}
