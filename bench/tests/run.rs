//! The program itself, without proxies: what it reports, what it says when something is missing, and that
//! it leaves nothing running.

#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The server's HTTP/1.1 port, counted from the first.
const SERVER: u16 = 20;

/// The first of 64 ports that nobody uses, below those that the kernel hands out.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 100).unwrap();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = 20_000 + (start + number) % 180 * 64;
        let free = (base..base + 64).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok());
        if free {
            return base;
        }
    }
}

fn bench(base: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-bench"));
    command
        .args([
            "--rounds",
            "1",
            "--seconds",
            "0.2",
            "--offline",
            "--together",
        ])
        .arg(format!("--base-port={base}"))
        .args(arguments);
    command
}

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

#[test]
fn reports_what_was_measured_and_every_target() {
    let directory = tempfile::tempdir().unwrap();
    let (json, svg) = (
        directory.path().join("a.json"),
        directory.path().join("a.svg"),
    );
    let markdown = directory.path().join("a.md");
    let output = bench(
        free_ports(),
        &["--contender", "direct", "--only", "mtls-1000"],
    )
    .arg("--json")
    .arg(&json)
    .arg("--svg")
    .arg(&svg)
    .arg("--markdown")
    .arg(&markdown)
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let document: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let workloads = document["workloads"].as_array().unwrap();
    let names: Vec<&str> = workloads
        .iter()
        .map(|one| one["workload"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["http1-mtls-1000", "http2-mtls-1000", "grpc-mtls-1000"],
        "{}",
        text(&output)
    );
    for workload in workloads {
        let sample = &workload["samples"][0];
        assert!(sample["requests"].as_u64().unwrap() > 0, "{sample}");
        assert_eq!(sample["failed"], 0, "{sample}");
    }
    assert_eq!(document["targets"].as_array().unwrap().len(), 23);
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.contains("### Targets"), "{markdown}");
}

#[test]
fn a_missing_contender_is_told_and_the_rest_goes_on() {
    let arguments = ["--contender", "envoy", "--contender", "direct"];
    let output = bench(free_ports(), &arguments)
        .args(["--only", "tcp-mtls-c1000", "--envoy", "/nonexistent/envoy"])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("Envoy: left out: /nonexistent/envoy is no file"),
        "{text}"
    );
    assert!(text.contains("tcp-mtls-c1000  no mesh"), "{text}");
}

#[test]
fn a_run_that_measures_nothing_fails() {
    let arguments = ["--contender", "envoy", "--envoy", "/nonexistent/envoy"];
    let output = bench(free_ports(), &arguments)
        .args(["--only", "http1-mtls-1000"])
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("failed: nothing was measured"), "{text}");
}

/// Neither the one who is killed nor the others may be silent about it.
#[test]
fn a_process_that_is_killed_is_told_and_the_rest_goes_on() {
    let base = free_ports();
    for (kind, message) in [
        (
            "server",
            "no mesh: http1-mtls-1000: the server has ended: killed by SIGKILL",
        ),
        (
            "load",
            "no mesh: http1-mtls-1000: the load generator has ended: killed by SIGKILL",
        ),
    ] {
        let run = bench(
            base,
            &["--contender", "direct", "--only", "http1-mtls-1000"],
        )
        .args(["--rounds", "2", "--seconds", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // Under load: before it only the server is there.
        let child = |kind| child_of(run.id(), kind);
        eventually("the load runs", || child("load").is_some());
        let victim = i32::try_from(child(kind).unwrap()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(victim),
            nix::sys::signal::SIGKILL,
        )
        .unwrap();
        let output = run.wait_with_output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(message), "{text}");
        assert!(text.contains("http1-mtls-1000  no mesh"), "{text}");
    }
}

/// A child of a process that runs a subcommand of the benchmark.
fn child_of(parent: u32, subcommand: &str) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|id| id.parse().ok());
    children.find(|id| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(subcommand.as_bytes())
    })
}

#[test]
fn a_taken_port_is_named() {
    let base = free_ports();
    let _taken = TcpListener::bind(("0.0.0.0", base + SERVER)).unwrap();
    let arguments = ["--contender", "direct", "--only", "grpc-mtls-1000"];
    let output = bench(base, &arguments).output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let message = format!("no mesh: port {} is taken", base + SERVER);
    assert!(text.contains(&message), "{text}");
}

#[test]
fn names_that_do_not_exist_are_refused() {
    let output = bench(free_ports(), &["--only", "nothing"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = text(&output);
    assert!(text.contains("--list shows what there is"), "{text}");
}

#[test]
fn a_killed_run_leaves_nothing_running() {
    let base = free_ports();
    let mut run = bench(base, &["--contender", "direct", "--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let reachable = || TcpStream::connect(("127.0.0.1", base + SERVER)).is_ok();
    eventually("the server is up", reachable);
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("the server is gone", || !reachable());
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
