//! What a container sees of the host.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::place::{Places, show};
use super::{NEW, OLD, bind, make_read_only, mount_tmpfs, under};
use crate::sandbox::container::Container;

/// Directories that are the container's own, empty and writable, with their permissions.
pub(super) const EMPTY: [(&str, u32); 4] = [
    ("/tmp", 0o1777),
    ("/run", 0o755),
    ("/var/run", 0o755),
    ("/var/tmp", 0o1777),
];

/// Parts of `/proc` that reach beyond the container (runc's read-only paths).
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Fills the new root.
pub(super) fn host_view(container: &Container) -> io::Result<Places> {
    let places = Places::new();
    let new = Path::new(NEW);
    places.fill(new, &["dev", "etc", "proc", "run", "sys", "tmp", "var"])?;
    for (name, mode) in [("tmp", 0o1777), ("run", 0o755)] {
        make_directory(&new.join(name), mode)?;
    }
    var(&places)?;
    etc(&places, container)?;
    proc()?;
    sys()?;
    dev()?;
    Ok(places)
}

/// The host's, with `run` a link to ours (on some hosts it is a directory) and an empty `tmp`.
fn var(places: &Places) -> io::Result<()> {
    let var = under(NEW, Path::new("/var"));
    make_directory(&var, 0o755)?;
    if under(OLD, Path::new("/var")).is_dir() {
        places.fill(&var, &["run", "tmp"])?;
    }
    symlink("/run", var.join("run"))?;
    make_directory(&var.join("tmp"), 0o1777)
}

/// The host's, with the container's names in it.
fn etc(places: &Places, container: &Container) -> io::Result<()> {
    let etc = under(NEW, Path::new("/etc"));
    make_directory(&etc, 0o755)?;
    if under(OLD, Path::new("/etc")).is_dir() {
        places.fill(&etc, &["resolv.conf", "hosts", "hostname", "mtab"])?;
    }
    fs::write(etc.join("resolv.conf"), &container.resolv_conf)?;
    fs::write(etc.join("hosts"), &container.hosts)?;
    fs::write(etc.join("hostname"), format!("{}\n", container.hostname))?;
    symlink("/proc/self/mounts", etc.join("mtab"))
}

/// Of the container's own pid namespace where that may be mounted; else the platform's, which shows the
/// other containers too, by other numbers.
fn proc() -> io::Result<()> {
    let proc = under(NEW, Path::new("/proc"));
    make_directory(&proc, 0o555)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("proc"), &proc, Some("proc"), flags, None::<&str>).is_err() {
        bind(&under(OLD, Path::new("/proc")), &proc)?;
    }
    for name in READ_ONLY_PROC {
        let path = proc.join(name);
        // Kernels differ in which of them exist.
        let _ = bind(&path, &path).and_then(|()| make_read_only(&path));
    }
    Ok(())
}

fn sys() -> io::Result<()> {
    let source = under(OLD, Path::new("/sys"));
    if source.is_dir() {
        show(&source, &under(NEW, Path::new("/sys")))
    } else {
        Ok(())
    }
}

/// The host's devices (writing to a device is no write to its file system), with shared memory of its own.
fn dev() -> io::Result<()> {
    let dev: PathBuf = under(NEW, Path::new("/dev"));
    show(&under(OLD, Path::new("/dev")), &dev)?;
    let shared_memory = dev.join("shm");
    if shared_memory.is_dir() {
        mount_tmpfs(&shared_memory, 0o1777)
    } else {
        Ok(())
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
