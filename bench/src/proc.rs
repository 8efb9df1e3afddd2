//! What the kernel tells about processes: processor time and memory.

use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: u64,
    /// The anonymous part: heap and stacks, without the program's file.
    pub(crate) anonymous: u64,
}

/// Time on a processor, in nanoseconds' resolution: the sum over the threads that live. (`stat` counts in
/// ticks of 10 ms, too coarse for short runs; a thread that ended is missing, which in no contender
/// happens under load.)
///
/// # Errors
/// When the process is gone.
pub(crate) fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let path = thread?.path().join("schedstat");
        // It may have ended since it was listed.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let time = text.split_whitespace().next().unwrap_or_default();
        nanoseconds += time
            .parse::<u64>()
            .context("schedstat is not as expected")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(process: u32) -> anyhow::Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(Memory {
        resident: field(&text, "VmRSS:").context("no VmRSS")?,
        anonymous: field(&text, "RssAnon:").context("no RssAnon")?,
    })
}

/// A field of kibibytes, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let number = line.split_whitespace().nth(1)?;
    Some(number.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kibibytes() {
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t 10 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(field(text, "RssAnon:"), Some(10 * 1024));
        assert_eq!(field(text, "RssFile:"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        assert!(processor_time(own).unwrap() > Duration::ZERO);
        let memory = memory(own).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.anonymous > 0);
    }
}
