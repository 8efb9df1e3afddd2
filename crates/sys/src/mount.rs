//! Mount calls that nix lacks.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// Makes the mount at `path` and all mounts below it read-only, keeping their other flags.
///
/// Unlike a remount this works on mounts inherited by a user namespace, whose flags are locked.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` when `path` is not a mount point.
#[allow(unsafe_code)]
pub fn set_read_only_recursive(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: `path` is zero-terminated and `attributes` is as long as the size says; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
