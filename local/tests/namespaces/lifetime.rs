//! What is left when a process of the platform dies: nothing.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use mesh_local::up::Host;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::OUTER;

/// A scenario that prints its inner process's number and stays.
pub(crate) const SLEEPER: &str = "sleeper";

type Check = fn();

/// Run in the host's namespaces, each on a platform of its own.
pub(crate) const CHECKS: [(&str, Check); 3] = [
    (
        "everything_dies_with_the_outer_process",
        everything_dies_with_the_outer_process,
    ),
    (
        "the_inner_process_ends_when_asked",
        the_inner_process_ends_when_asked,
    ),
    ("nothing_is_left_on_the_host", nothing_is_left_on_the_host),
];

pub(crate) async fn sleep(host: Host) {
    let mut orphan = Command::new("sleep").arg("1000").spawn().unwrap();
    println!("ready");
    host.terminated().await;
    println!("terminated");
    let _ = orphan.kill();
    let _ = orphan.wait();
}

/// Starts a platform in a process of its own; its output ends when the last of its processes is dead.
fn platform() -> (Child, BufReader<std::process::ChildStdout>) {
    let mut outer = Command::new(std::env::current_exe().unwrap())
        .args([OUTER, SLEEPER])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(outer.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (outer, stdout)
}

fn everything_dies_with_the_outer_process() {
    let (mut outer, mut stdout) = platform();
    outer.kill().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    outer.wait().unwrap();
}

fn the_inner_process_ends_when_asked() {
    let (mut outer, mut stdout) = platform();
    let pid = Pid::from_raw(outer.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "terminated\n", "it had the time to end in good order");
    assert!(outer.wait().unwrap().success());
}

fn nothing_is_left_on_the_host() {
    let state = || {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let interfaces = std::fs::read_to_string("/proc/self/net/dev")
            .unwrap()
            .lines()
            .count();
        let names = std::fs::read_dir("/run/netns").map_or(0, Iterator::count);
        (mounts, interfaces, names)
    };
    let before = state();
    let (mut outer, mut stdout) = platform();
    assert_eq!(state(), before, "nor is anything seen while it runs");
    outer.kill().unwrap();
    stdout.read_to_string(&mut String::new()).unwrap();
    outer.wait().unwrap();
    assert_eq!(state(), before);
}
