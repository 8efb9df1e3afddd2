//! What a mesh could leave on the machine, and the processes that belong to it while it runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Programs that only a mesh starts.
const PROGRAMS: [&str; 5] = ["meshctl", "meshd", "meshproxy", "bookinfo", "meshecho"];

/// A picture of the machine: mounts, named network namespaces, links, packet filter rules, and
/// running programs of the mesh.
#[derive(Debug, PartialEq, Eq)]
pub struct Residue {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    namespaces: String,
    rules: String,
    processes: BTreeSet<String>,
}

impl Residue {
    /// Takes the picture. What a tool would tell is left out where the tool is not installed.
    ///
    /// # Errors
    /// When /proc or /sys can't be read.
    pub fn now() -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let links = std::fs::read_dir("/sys/class/net")?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        Ok(Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            links,
            namespaces: printed("ip", &["netns", "list"]),
            // Without counters, which go on by themselves where other rules are.
            rules: printed("nft", &["--stateless", "list", "ruleset"]),
            processes: processes()?
                .into_iter()
                .filter(|p| p.is_ours())
                .map(|p| p.to_string())
                .collect(),
        })
    }

    /// Compares with a later picture.
    ///
    /// # Errors
    /// Naming what is new or gone.
    pub fn assert_same(&self, later: &Self) -> anyhow::Result<()> {
        let new = |before: &BTreeSet<String>, after: &BTreeSet<String>| -> Vec<String> {
            after.symmetric_difference(before).cloned().collect()
        };
        let mounts = new(&self.mounts, &later.mounts);
        ensure!(mounts.is_empty(), "mounts were left: {mounts:?}");
        let links = new(&self.links, &later.links);
        ensure!(links.is_empty(), "network links were left: {links:?}");
        let left: Vec<_> = later.processes.difference(&self.processes).collect();
        ensure!(left.is_empty(), "processes were left: {left:?}");
        ensure!(
            self.namespaces == later.namespaces,
            "network namespaces were left: {}",
            later.namespaces
        );
        ensure!(
            self.rules == later.rules,
            "packet filter rules were left: {}",
            later.rules
        );
        Ok(())
    }
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

struct Process {
    pid: i32,
    parent: i32,
    name: String,
}

impl Process {
    fn is_ours(&self) -> bool {
        PROGRAMS.contains(&self.name.as_str())
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.pid)
    }
}

fn processes() -> anyhow::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc").context("read /proc")?;
    Ok(entries
        .filter_map(|entry| process(&entry.ok()?.path()))
        .collect())
}

/// `None` for what is no process, or is one no more.
fn process(directory: &Path) -> Option<Process> {
    let pid = directory.file_name()?.to_str()?.parse().ok()?;
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // `PID (NAME) STATE PARENT ...`; a zombie has ended.
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut fields = tail.split(' ');
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    (state != "Z").then(|| Process {
        pid,
        parent,
        name: head
            .split_once('(')
            .map(|(_, name)| name.to_owned())
            .unwrap_or_default(),
    })
}

/// Kills with SIGKILL every process of the pod with the address `ip`, among the descendants of
/// the process `root`.
pub(super) fn kill_pod(root: u32, ip: &str) -> anyhow::Result<()> {
    let all = processes()?;
    let mut family = BTreeSet::from([root.cast_signed()]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|p| family.contains(&p.parent) && !family.contains(&p.pid))
            .map(|p| p.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    let in_pod = |process: &&Process| {
        let table = std::fs::read_to_string(format!("/proc/{}/net/fib_trie", process.pid))
            .unwrap_or_default();
        let gateway = table.contains("10.244.0.1\n");
        !gateway
            && table
                .lines()
                .any(|line| line.trim_start_matches([' ', '|', '-']) == ip)
    };
    let members: Vec<_> = all
        .iter()
        .filter(|p| family.contains(&p.pid) && p.is_ours())
        .filter(in_pod)
        .collect();
    ensure!(
        !members.is_empty(),
        "no process of a pod with the address {ip} was found"
    );
    for member in members {
        // One that has ended meanwhile is as dead as it should be.
        let _ = kill(Pid::from_raw(member.pid), Signal::SIGKILL);
    }
    Ok(())
}
