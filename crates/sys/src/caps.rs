//! Capabilities: what is left to a process that may not be all of root.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// Names in the kernel's numbering (`include/uapi/linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet {
    bits: u64,
}

impl CapabilitySet {
    /// None at all.
    pub const EMPTY: CapabilitySet = CapabilitySet { bits: 0 };

    /// All that are known.
    pub const ALL: CapabilitySet = CapabilitySet {
        bits: (1 << NAMES.len()) - 1,
    };

    /// What container runtimes leave to a container by default (Docker's and containerd's list).
    pub fn container_default() -> CapabilitySet {
        let names = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SYS_CHROOT",
            "MKNOD",
            "AUDIT_WRITE",
            "SETFCAP",
        ];
        names
            .iter()
            .filter_map(|name| CapabilitySet::named(name))
            .fold(CapabilitySet::EMPTY, CapabilitySet::with)
    }

    /// The capability of this name (`NET_ADMIN`, with or without `CAP_`, any case), or all for `ALL`; `None`
    /// if there is no such capability.
    pub fn named(name: &str) -> Option<CapabilitySet> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if name == "ALL" {
            return Some(CapabilitySet::ALL);
        }
        let number = NAMES.iter().position(|known| *known == name)?;
        Some(CapabilitySet { bits: 1 << number })
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet {
            bits: self.bits | other.bits,
        }
    }

    /// This set less `other`.
    #[must_use]
    pub fn without(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet {
            bits: self.bits & !other.bits,
        }
    }

    /// What is in both sets.
    #[must_use]
    pub fn and(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet {
            bits: self.bits & other.bits,
        }
    }

    /// Whether all of `other` is in this set.
    pub fn contains(self, other: CapabilitySet) -> bool {
        self.bits & other.bits == other.bits
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |number: usize| self.bits & (1 << number) != 0;
        let names = NAMES
            .iter()
            .enumerate()
            .filter(|(number, _)| has(*number))
            .map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}

/// Removes from the calling thread's bounding set all but `keep`: no program it executes can get them.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
#[allow(unsafe_code)]
pub(crate) fn limit_bounding(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..64_u32 {
        if keep.bits & (1 << number) != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes numbers only.
        let result =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            Err(Errno::EINVAL) => break, // beyond the last one that this kernel knows
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Gives the calling thread (no longer root, with its permitted set kept) exactly `keep`, and passes it on
/// to the program it executes (ambient set).
///
/// # Errors
/// `EPERM` for a capability that is not permitted.
#[allow(unsafe_code)]
pub(crate) fn keep_across_exec(keep: CapabilitySet) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    #[allow(clippy::cast_possible_truncation)] // the two halves
    let halves = [keep.bits as u32, (keep.bits >> 32) as u32];
    let data = halves.map(|half| Data {
        effective: half,
        permitted: half,
        inheritable: half,
    });
    // SAFETY: layouts as in capset(2) for version 3, which reads two Data; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result)?;
    for number in (0..NAMES.len()).filter(|number| keep.bits & (1 << number) != 0) {
        // SAFETY: PR_CAP_AMBIENT takes numbers only.
        let result = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                number,
                0,
                0,
            )
        };
        Errno::result(result)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_the_kernels_numbers() {
        assert_eq!(CapabilitySet::named("NET_ADMIN").unwrap().bits, 1 << 12);
        assert_eq!(CapabilitySet::named("cap_net_raw").unwrap().bits, 1 << 13);
        assert_eq!(CapabilitySet::named("SYS_ADMIN").unwrap().bits, 1 << 21);
        assert_eq!(
            CapabilitySet::named("CHECKPOINT_RESTORE").unwrap().bits,
            1 << 40
        );
        assert_eq!(CapabilitySet::named("NET"), None);
    }
}
