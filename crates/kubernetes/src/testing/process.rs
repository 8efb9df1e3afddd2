//! A daemon that cannot outlive the test that started it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends the daemon when its own input ends, which is when the test closes it or dies; ends itself
/// when the daemon does. (The kernel's parent-death signal would come when the *thread* that
/// started it ends.)
const GUARD: &str = r#"
exec 3<&0
"$@" 3<&- &
daemon=$!
(read -r _ <&3; kill -9 "$daemon") &
reader=$!
wait "$daemon"
kill "$reader"
"#;

/// A running daemon; dropping it ends it, by force, and waits until it is gone.
pub(super) struct Process {
    guard: Child,
}

impl Process {
    /// Starts `binary`; its output goes to the file `NAME.log` in `directory`.
    ///
    /// # Panics
    /// If it can't be started.
    pub(super) fn start(directory: &Path, binary: &Path, arguments: &[String]) -> Process {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join(format!("{name}.log")))
            .expect("open the log");
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("duplicate a descriptor"))
            .stderr(log)
            .spawn()
            .expect("start /bin/sh");
        Process { guard }
    }

    /// Whether the daemon has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing to be done about a failure: the guard was ours to wait for.
        let _ = self.guard.wait();
    }
}

/// The last lines of the daemon's log.
pub(super) fn log_end(directory: &Path, name: &str) -> String {
    let log = std::fs::read(directory.join(format!("{name}.log"))).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    format!(
        "{name}:\n{}",
        lines[lines.len().saturating_sub(20)..].join("\n")
    )
}
