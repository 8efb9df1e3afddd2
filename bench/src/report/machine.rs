//! Where and when a run was.

use std::fmt::Write as _;
use std::process::Command;

use crate::contender::{Programs, install};
use crate::options::Run;
use crate::results::Machine;
use crate::workload::Times;

/// Looks at the machine. What cannot be found out is `unknown`.
pub(crate) fn machine(options: &Run, programs: &Programs, times: Times) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let processor = information
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let mut versions = vec![format!("meshproxy {}", env!("CARGO_PKG_VERSION"))];
    for (name, program, argument) in [
        ("Envoy", &programs.envoy, "--version"),
        ("HAProxy", &programs.haproxy, "-v"),
    ] {
        versions.push(match program {
            Ok(path) => format!("{name}: {}", install::version(path, argument)),
            Err(_) => format!("{name}: none"),
        });
    }
    Machine {
        command: command(),
        date: date(),
        processor: processor.to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        versions,
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        seconds: times.measure.as_secs_f64(),
        rounds: options.rounds,
    }
}

/// The command line, as one would type it.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo bench-mesh {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}

fn date() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%d %H:%M"])
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The head of a report.
pub(super) fn describe(machine: &Machine) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} UTC, {} processors ({}), Linux {}, {} build",
        machine.date, machine.processors, machine.processor, machine.kernel, machine.profile
    );
    let _ = writeln!(text, "{}", machine.versions.join("; "));
    let _ = writeln!(
        text,
        "`{}`: {} rounds of {} s a workload, medians",
        machine.command, machine.rounds, machine.seconds
    );
    text
}
