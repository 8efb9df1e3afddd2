//! Finds or makes places for mounts in the new root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{NEW, OLD, bind, make_read_only, mount_tmpfs, under};

/// As the kernel's limit of links in one path.
const MAX_LINKS: u32 = 40;

/// The new root and where its directories come from.
#[derive(Debug)]
pub(super) struct Places {
    /// Directories of the new root that show others: path in the new root and source. The longest path that
    /// is a prefix wins.
    origins: Vec<(PathBuf, PathBuf)>,
}

/// Entries left out when a directory is opened up.
pub(super) type Skip<'a> = &'a [&'a str];

impl Places {
    pub(super) fn new() -> Places {
        Places {
            origins: vec![(PathBuf::from(NEW), PathBuf::from(OLD))],
        }
    }

    /// Where `path` of the container is in the new root, as a directory, made if missing.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.walk(path, Wanted::Directory)
    }

    /// Where `path` of the container is in the new root, as a file, made if missing.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.walk(path, Wanted::File)
    }

    /// Notes that `point` now shows `source`.
    pub(super) fn covered_by(&mut self, point: &Path, source: PathBuf) {
        self.origins.push((point.to_owned(), source));
    }

    /// Fills a directory that is ours with the entries of its origin, read-only, except `skip`.
    pub(super) fn fill(&self, directory: &Path, skip: Skip<'_>) -> io::Result<()> {
        let origin = self.origin(directory);
        for entry in fs::read_dir(&origin)?.flatten() {
            let name = entry.file_name();
            if skip.iter().any(|skipped| OsStr::new(skipped) == name) {
                continue;
            }
            // Some entries of a host cannot be bound (other users' FUSE mounts): they are not shown.
            if let Err(error) = show(&entry.path(), &directory.join(&name)) {
                tracing::debug!(path = %entry.path().display(), %error, "not shown in the container");
            }
        }
        Ok(())
    }

    fn walk(&mut self, path: &Path, wanted: Wanted) -> io::Result<PathBuf> {
        let mut left: Vec<OsString> = parts(path)?;
        left.reverse();
        let mut at = PathBuf::from(NEW);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                if at != Path::new(NEW) {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&name);
            let wanted_here = if left.is_empty() {
                wanted
            } else {
                Wanted::Directory
            };
            match fs::symlink_metadata(&next) {
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
                    }
                    at = follow(&at, &fs::read_link(&next)?, &mut left);
                }
                Ok(found) if found.is_dir() == (wanted_here == Wanted::Directory) => at = next,
                Ok(_) => {
                    let message = format!("{} is a {}", next.display(), wanted_here.opposite());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make(&at, &next, wanted_here)?;
                    at = next;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }

    fn make(&mut self, directory: &Path, path: &Path, wanted: Wanted) -> io::Result<()> {
        match wanted.make(path) {
            // A directory of the host: put one of ours over it that shows the same and has room.
            Err(error) if is_closed(&error) => {
                self.open_up(directory)?;
                wanted.make(path)
            }
            result => result,
        }
    }

    fn open_up(&mut self, directory: &Path) -> io::Result<()> {
        mount_tmpfs(directory, 0o755)?;
        self.fill(directory, &[])
    }

    fn origin(&self, directory: &Path) -> PathBuf {
        let covering = self.origins.iter().filter_map(|(point, source)| {
            let rest = directory.strip_prefix(point).ok()?;
            Some((point.components().count(), source.join(rest)))
        });
        // The last of equals: it was mounted over the others.
        covering
            .max_by_key(|(length, _)| *length)
            .map_or_else(|| under(OLD, directory), |(_, source)| source)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Directory,
    File,
}

impl Wanted {
    fn make(self, path: &Path) -> io::Result<()> {
        match self {
            Wanted::Directory => fs::create_dir(path),
            Wanted::File => fs::File::create_new(path).map(drop),
        }
    }

    fn opposite(self) -> &'static str {
        match self {
            Wanted::Directory => "file",
            Wanted::File => "directory",
        }
    }
}

/// Shows one entry of the host, read-only; a link as the same link.
pub(super) fn show(source: &Path, point: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(source)?;
    if found.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(source)?, point);
    }
    if found.is_dir() {
        fs::create_dir(point)?;
    } else {
        fs::File::create_new(point)?;
    }
    bind(source, point)?;
    make_read_only(point)
}

/// Where a link leads on from; its parts come before those that are left.
fn follow(at: &Path, target: &Path, left: &mut Vec<OsString>) -> PathBuf {
    let parts = target.components().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    });
    left.extend(parts.rev());
    if target.is_absolute() {
        PathBuf::from(NEW)
    } else {
        at.to_owned()
    }
}

fn parts(path: &Path) -> io::Result<Vec<OsString>> {
    let relative = path.strip_prefix("/").map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not an absolute path", path.display()),
        )
    })?;
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Ok(name.to_owned()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} contains ..", path.display()),
        )),
    };
    relative.components().map(part).collect()
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}
