//! Tests that need namespaces: each runs again in a process of its own, as root of new namespaces.

use std::process::Command;

use crate::process::{Isolation, spawn_isolated};

const INSIDE: &str = "MESH_SYS_TEST_ISOLATED";

/// Runs `body` in new namespaces (loopback up). `name`: the test's full path, as libtest knows it.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        crate::link::in_netns(
            &crate::netns::NetNs::current().unwrap(),
            async |links: crate::link::Links| links.set_loopback_up().await,
        )
        .unwrap();
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    match spawn_isolated(&mut command, Isolation::for_this_user()) {
        Ok(mut child) => assert!(
            child.wait().unwrap().success(),
            "{name} failed in its namespaces"
        ),
        Err(error) => eprintln!("\n*** SKIPPED {name}: namespaces are forbidden here: {error}\n"),
    }
}

/// Whether the program is there; says so loudly if not.
pub(crate) fn has_nft() -> bool {
    let found = Command::new("nft").arg("--version").output().is_ok();
    if !found {
        eprintln!("\n*** SKIPPED the comparison with nft: not installed\n");
    }
    found
}
