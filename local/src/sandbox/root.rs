//! The root file system of a container, made of the host's.
//!
//! Everything is a bind mount in a mount namespace of the container's own, so nothing has to be undone. To
//! get a place to build in that hides nothing, the root is exchanged twice (as bubblewrap does): first for
//! a scratch tmpfs that holds the old root at [`OLD`], then for the finished [`NEW`].

mod place;
mod view;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use self::place::Places;
use super::container::Container;
use super::{Mount, Source, SpawnError, User};

/// The host's root while the new one is built.
const OLD: &str = "/old";
/// The container's root while it is built.
const NEW: &str = "/new";
/// Where the scratch file system may be put: any directory that every Linux has.
const SCRATCH: [&str; 4] = ["/tmp", "/mnt", "/run", "/dev"];

/// Replaces the root of the calling process by the container's.
pub(super) fn build(container: &Container) -> Result<(), SpawnError> {
    // Sources are resolved while the host's links still lead where they should.
    let mounts = resolve_sources(&container.mounts)?;
    let program = hidden_program(container);
    enter_scratch().map_err(SpawnError::setup("make a scratch file system"))?;
    let mut places =
        view::host_view(container).map_err(SpawnError::setup("show the host's files"))?;
    let mut ordered: Vec<&Mount> = mounts.iter().collect();
    ordered.sort_by_key(|mount| mount.path.components().count());
    for each in ordered {
        let what = format!("mount {}", each.path.display());
        add(&mut places, each, &container.program.user).map_err(SpawnError::setup(what))?;
    }
    if let Some(program) = program {
        let what = format!("show the program {}", program.path.display());
        add(&mut places, &program, &User::default()).map_err(SpawnError::setup(what))?;
    }
    let cwd = &container.program.cwd;
    places.directory(cwd).map_err(SpawnError::setup(format!(
        "make the working directory {}",
        cwd.display()
    )))?;
    enter_new().map_err(SpawnError::setup("enter the container's root"))
}

fn resolve_sources(mounts: &[Mount]) -> Result<Vec<Mount>, SpawnError> {
    let resolve = |mount: &Mount| {
        let mut mount = mount.clone();
        if let Source::Host(path) = &mut mount.source {
            let what = format!("find {} for mount {}", path.display(), mount.path.display());
            *path = fs::canonicalize(&*path).map_err(SpawnError::setup(what))?;
        }
        Ok(mount)
    };
    mounts.iter().map(resolve).collect()
}

/// The program as a mount, if it lies where the container has empty directories.
fn hidden_program(container: &Container) -> Option<Mount> {
    let path = PathBuf::from(container.program.argv.first()?);
    if !path.is_absolute()
        || !view::EMPTY
            .iter()
            .any(|(directory, _)| path.starts_with(directory))
    {
        return None;
    }
    let source = Source::Host(fs::canonicalize(&path).ok()?);
    Some(Mount {
        path,
        source,
        read_only: true,
    })
}

fn enter_scratch() -> io::Result<()> {
    let scratch = SCRATCH.into_iter().find(|path| Path::new(path).is_dir());
    let scratch = scratch.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    mount_tmpfs(Path::new(scratch), 0o755)?;
    std::env::set_current_dir(scratch)?;
    fs::create_dir("old")?;
    fs::create_dir("new")?;
    pivot_root(".", "old")?;
    std::env::set_current_dir("/")?;
    mount_tmpfs(Path::new(NEW), 0o755)
}

fn enter_new() -> io::Result<()> {
    std::env::set_current_dir(NEW)?;
    // The old root lands on top of the new one and is taken off: no directory for it is needed.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

fn add(places: &mut Places, each: &Mount, user: &User) -> io::Result<()> {
    match &each.source {
        Source::Host(source) => {
            let source = under(OLD, source);
            let is_dir = fs::metadata(&source)?.is_dir();
            let point = if is_dir {
                places.directory(&each.path)?
            } else {
                places.file(&each.path)?
            };
            bind(&source, &point)?;
            if is_dir {
                places.covered_by(&point, source);
            }
            finish(&point, each.read_only)
        }
        Source::Files { files, mode } => {
            let point = places.directory(&each.path)?;
            mount_tmpfs(&point, 0o755)?;
            for (path, bytes) in files {
                write_file(&point, path, bytes, *mode, user)?;
            }
            finish(&point, each.read_only)
        }
        Source::Empty => {
            let point = places.directory(&each.path)?;
            mount_tmpfs(&point, 0o777)?;
            finish(&point, each.read_only)
        }
    }
}

fn write_file(point: &Path, path: &Path, bytes: &[u8], mode: u32, user: &User) -> io::Result<()> {
    let inside = path
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        let message = format!("{} does not stay inside the volume", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let file = point.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&file, bytes)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    // Where the user does not exist, the only one there is owns it already.
    let _ = chown(&file, user.uid, user.gid);
    Ok(())
}

fn finish(point: &Path, read_only: bool) -> io::Result<()> {
    if read_only {
        make_read_only(point)
    } else {
        Ok(())
    }
}

/// Binds `source` and everything mounted below it to `point`.
fn bind(source: &Path, point: &Path) -> io::Result<()> {
    Ok(mount(
        Some(source),
        point,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?)
}

fn mount_tmpfs(point: &Path, mode: u32) -> io::Result<()> {
    let options = format!("mode={mode:o}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(
        Some("tmpfs"),
        point,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )?)
}

fn make_read_only(point: &Path) -> io::Result<()> {
    match mesh_sys::mount::set_read_only_recursive(point) {
        // Before Linux 5.12: the mount itself, without those below it.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOSYS) => {
            let kept = nix::sys::statvfs::statvfs(point)?.flags().bits();
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            // nosuid, nodev, noexec, noatime...: the same bits in statvfs and mount.
            let flags = flags | MsFlags::from_bits_truncate(kept);
            Ok(mount(
                None::<&str>,
                point,
                None::<&str>,
                flags,
                None::<&str>,
            )?)
        }
        result => result,
    }
}

/// An absolute path below another root.
fn under(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}
