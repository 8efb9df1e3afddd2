//! Giving back memory that a start needed and the rest of a process's life does not.

#![allow(unsafe_code)]

use std::io;

// For its C functions; this one it declares only together with all else that mimalloc can do.
use libmimalloc_sys as _;

unsafe extern "C" {
    /// Frees what no live allocation needs; `force`: now.
    fn mi_collect(force: bool);
}

/// Gives free heap back to the system at once, and lets go of the program's own pages.
///
/// A start runs through most of a program, and the kernel maps 64 KiB around each page that is touched:
/// all of it counts as resident from then on. What is used again is mapped again, from the page cache,
/// for a few microseconds per 64 KiB. Takes about a millisecond; call it when a start is over.
///
/// # Errors
/// As reading `/proc/self/maps` and `madvise(2)`; whatever comes of it, the process goes on as before.
pub fn trim() -> io::Result<()> {
    // SAFETY: takes no pointers, frees only what is free; may be called on any thread.
    unsafe { mi_collect(true) };
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let program = std::fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    for (start, length) in maps.lines().filter_map(|line| unwritten(line, &program)) {
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: a private mapping of a file to which nothing is ever written, so that its pages are
        // the file's; they are read from there when needed again.
        if unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Address and length of a mapping, if it is code of a file, or the beginning of the program: constants
/// and what the dynamic linker has read. What it relocates, and protects only then, lies further on.
/// `line`: of proc_pid_maps(5).
fn unwritten(line: &str, program: &str) -> Option<(usize, usize)> {
    let path = line.find('/').map(|at| &line[at..])?;
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    match (fields.next()?, fields.next()?) {
        ("r-xp", _) => {}
        ("r--p", "00000000") if path == program => {}
        _ => return None,
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_file_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    #[test]
    fn finds_what_is_never_written() {
        let found = Some((0x1000, 0x2000));
        let lines = [
            ("1000-3000 r-xp 00001000 fe:00 7   /bin/a b", found),
            ("1000-3000 r-xp 00001000 fe:00 8   /lib/c", found),
            ("1000-3000 r--p 00000000 fe:00 7   /bin/a b", found),
            ("1000-3000 r--p 00005000 fe:00 7   /bin/a b", None),
            ("1000-3000 r--p 00000000 fe:00 8   /lib/c", None),
            ("1000-3000 rwxp 00001000 fe:00 7   /bin/a b", None),
            ("1000-3000 r-xp 00000000 00:00 0   [vdso]", None),
            ("1000-3000 r-xp 00000000 00:00 0", None),
            ("", None),
        ];
        for (line, expected) in lines {
            assert_eq!(unwritten(line, "/bin/a b"), expected, "{line}");
        }
    }

    #[test]
    fn a_trimmed_process_is_smaller_and_goes_on() {
        let text: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        // Other tests of this process may touch more at the same time.
        let shrinks = (0..100).any(|_| {
            let before = resident_file_kib();
            trim().unwrap();
            resident_file_kib() < before
        });
        assert!(shrinks);
        assert_eq!(text.join("").len(), 2890);
    }
}
