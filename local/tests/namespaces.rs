//! The pod network and the sandbox, in real namespaces, as whoever runs the test.
//!
//! Each scenario is what `meshctl local up` is: this program, started again as the inner process. So it has
//! a `main` of its own instead of the test harness. Where namespaces are forbidden it says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::print_stdout,
    reason = "a test, which clippy does not see without the harness"
)]

mod namespaces {
    pub(crate) mod containers;
    pub(crate) mod lifetime;
    pub(crate) mod network;
    pub(crate) mod support;
}

use std::ffi::OsString;
use std::process::ExitCode;

use mesh_local::up::{self, Host, InnerExit, Outer, UpError};
use tokio::signal::unix::{SignalKind, signal};

use namespaces::{containers, lifetime, network, support};

type Scenario = fn(Host) -> support::Running;

const SCENARIOS: [(&str, Scenario); 18] = [
    ("services_reach_ready_endpoints", |host| {
        Box::pin(network::services_reach_ready_endpoints(host))
    }),
    ("services_carry_udp", |host| {
        Box::pin(network::services_carry_udp(host))
    }),
    ("services_without_endpoints_refuse", |host| {
        Box::pin(network::services_without_endpoints_refuse(host))
    }),
    ("connections_outlive_new_rules", |host| {
        Box::pin(network::connections_outlive_new_rules(host))
    }),
    ("pods_see_each_others_addresses", |host| {
        Box::pin(network::pods_see_each_others_addresses(host))
    }),
    ("removed_pods_leave_nothing", |host| {
        Box::pin(network::removed_pods_leave_nothing(host))
    }),
    ("external_hosts_are_reached", |host| {
        Box::pin(network::external_hosts_are_reached(host))
    }),
    ("ports_are_published_on_the_host", |host| {
        Box::pin(network::ports_are_published_on_the_host(host))
    }),
    ("taken_ports_are_named", |host| {
        Box::pin(network::taken_ports_are_named(host))
    }),
    ("containers_have_names_and_mounts", |host| {
        Box::pin(containers::containers_have_names_and_mounts(host))
    }),
    ("the_host_is_read_only", |host| {
        Box::pin(containers::the_host_is_read_only(host))
    }),
    ("mounts_stand_at_any_path", |host| {
        Box::pin(containers::mounts_stand_at_any_path(host))
    }),
    ("programs_in_hidden_directories_run", |host| {
        Box::pin(containers::programs_in_hidden_directories_run(host))
    }),
    ("failures_to_start_are_told", |host| {
        Box::pin(containers::failures_to_start_are_told(host))
    }),
    ("exits_and_signals_are_seen", |host| {
        Box::pin(containers::exits_and_signals_are_seen(host))
    }),
    ("programs_join_containers", |host| {
        Box::pin(containers::programs_join_containers(host))
    }),
    ("capabilities_are_limited", |host| {
        Box::pin(containers::capabilities_are_limited(host))
    }),
    (lifetime::SLEEPER, |host| Box::pin(lifetime::sleep(host))),
];

fn main() -> ExitCode {
    if let Some(code) = mesh_local::sandbox::dispatch() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match arguments.as_slice() {
            [support::INNER, name, external_port] => inner(name, external_port).await,
            [support::OUTER, name] => outer(name, 0).await.unwrap_or(ExitCode::FAILURE),
            filter => all(filter).await,
        }
    })
}

/// Runs the scenarios whose names contain one of the words given, all if there is none.
async fn all(filter: &[&str]) -> ExitCode {
    let words: Vec<&&str> = filter
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(**word));
    let external_port = support::external_server().await;
    let mut failed = 0;
    for (name, _) in SCENARIOS
        .iter()
        .filter(|(name, _)| wanted(name) && *name != lifetime::SLEEPER)
    {
        match outer(name, external_port).await {
            Ok(code) if code == ExitCode::SUCCESS => println!("test {name} ... ok"),
            Ok(_) => {
                println!("test {name} ... FAILED");
                failed += 1;
            }
            Err(error @ UpError::Forbidden { .. }) => {
                println!("\n*** SKIPPED all tests in namespaces: {error}\n");
                return ExitCode::SUCCESS;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    for (name, check) in lifetime::CHECKS.iter().filter(|(name, _)| wanted(name)) {
        check();
        println!("test {name} ... ok");
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one scenario in an inner process, as `meshctl local up` would; SIGTERM asks it to end.
async fn outer(name: &str, external_port: u16) -> Result<ExitCode, UpError> {
    let port = external_port.to_string();
    // Before the start: the test asks as soon as the inner process speaks.
    let mut asked = signal(SignalKind::terminate()).unwrap();
    let outer = Outer::start(&[support::INNER, name, &port].map(OsString::from))?;
    let exit = loop {
        tokio::select! {
            exit = outer.run() => break exit?,
            _ = asked.recv() => outer.terminate().await?,
        }
    };
    Ok(if exit == InnerExit::Code(0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn inner(name: &str, external_port: &str) -> ExitCode {
    support::set_external_port(external_port);
    let host = up::attach().unwrap();
    let (_, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name).unwrap();
    scenario(host).await;
    ExitCode::SUCCESS
}
