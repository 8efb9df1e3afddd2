use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    command
}

fn spawn(command: &mut Command) -> Option<std::process::Child> {
    match spawn_isolated(command, Isolation::for_this_user()) {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("\n*** SKIPPED: namespaces are forbidden here: {error}\n");
            None
        }
    }
}

#[test]
fn isolated_program_is_process_two_and_root() {
    let Some(child) = spawn(&mut shell("echo $$ $(id -u); exit 7")) else {
        return;
    };
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 0\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn refuses_huge_pages() {
    refuse_huge_pages().unwrap();
    assert!(nix::sys::prctl::get_thp_disable().unwrap());
}

#[test]
fn missing_program_is_an_error() {
    let error = spawn_isolated(
        &mut Command::new("/no/such/program"),
        Isolation::for_this_user(),
    );
    assert_eq!(error.unwrap_err().source.kind(), io::ErrorKind::NotFound);
}

#[test]
fn everything_ends_with_the_program_and_with_the_parent() {
    // The grandchild keeps standard output open: end of file comes when it is dead.
    let Some(mut child) = spawn(&mut shell("sleep 1000 & echo started; exit 0")) else {
        return;
    };
    let mut output = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    assert_eq!(output, "started\n");
    assert!(child.wait().unwrap().success());

    let mut child = spawn(&mut shell("sleep 1000 & wait")).unwrap();
    child.kill().unwrap();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    child.wait().unwrap();
}

#[test]
fn dies_with_the_thread_that_started_it() {
    let mut stdout = std::thread::spawn(|| spawn(&mut shell("sleep 1000"))?.stdout.take())
        .join()
        .unwrap();
    let Some(stdout) = stdout.as_mut() else {
        return;
    };
    assert_eq!(stdout.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn only_named_descriptors_are_inherited() {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let (reader_number, number) = (reader.as_raw_fd(), writer.as_raw_fd());
    let mut command = shell(&format!(
        "echo hi >&{number}; test ! -e /proc/self/fd/{reader_number}"
    ));
    inherit(&mut command, vec![writer]);
    let status = command.status().unwrap();
    drop(command);
    let mut text = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "hi\n");
    assert!(status.success());
    assert!(take_inherited(1).is_err());
    assert!(take_inherited(999).is_err());
}

#[tokio::test]
async fn pidfd_sees_the_end_and_sends_signals() {
    let mut child = shell("read line; exit 3")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pidfd = PidFd::open(child.id()).unwrap();
    pidfd.signal(0).unwrap();
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    pidfd.ended().await.unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(
        pidfd.signal(15).unwrap_err().raw_os_error(),
        Some(libc::ESRCH)
    );
}

#[test]
fn programs_lose_all_but_the_given_capabilities() {
    let script = "grep -E '^Cap(Eff|Bnd)' /proc/self/status";
    let mut outer = shell(script);
    let keep = CapabilitySet::named("NET_ADMIN")
        .unwrap()
        .with(CapabilitySet::named("NET_RAW").unwrap());
    let credentials = Credentials {
        uid: None,
        gid: None,
        groups: None,
        bounding: keep,
        ambient: CapabilitySet::EMPTY,
        terminal: false,
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("\n*** SKIPPED programs_lose_all_but_the_given_capabilities: needs root\n");
        return;
    }
    with_credentials(&mut outer, credentials.clone());
    let output = outer.output().unwrap();
    let expected = "CapEff:\t0000000000003000\nCapBnd:\t0000000000003000\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);

    let mut user = shell(script);
    let uid = Some(1337);
    with_credentials(
        &mut user,
        Credentials {
            uid,
            gid: uid,
            groups: Some(vec![]),
            ambient: keep,
            ..credentials
        },
    );
    let output = user.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
