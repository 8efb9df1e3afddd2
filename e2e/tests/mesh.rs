//! Runs every suite on every platform that this machine has: the local platform as the user who
//! runs the tests and, when that is root, as an ordinary user too.
//!
//! `cargo test -p mesh-e2e --test mesh -- NAME` runs some; `MESH_E2E_FULL=1` takes the full times.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use mesh_e2e::platform::Platform;
use mesh_e2e::platform::local::{Local, Owner, unavailable};
use mesh_e2e::suites::{self, Mesh, Pace, Test};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test changes the mesh: one at a time.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for (owner, name) in [
        (Owner::Me, "local"),
        (Owner::Nobody, "local-as-ordinary-user"),
    ] {
        match unavailable(owner) {
            None => trials.extend(trials_on(owner, name)),
            Some(reason) => say(&format!(
                "SKIPPED: every end-to-end test of the platform `{name}`: {reason}"
            )),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A mesh that the first test starts and the last one stops.
type Shared = Arc<Mutex<Option<Started>>>;

struct Started {
    local: Arc<Local>,
    mesh: Mesh,
}

fn trials_on(owner: Owner, name: &'static str) -> Vec<Trial> {
    let shared = Shared::default();
    let tests: Vec<Test> = match owner {
        Owner::Me => suites::all(),
        // What differs for an ordinary user is how the mesh is set up, not what it does then.
        Owner::Nobody => [
            suites::bookinfo::TESTS,
            suites::protocols::TESTS,
            suites::mtls::TESTS,
        ]
        .concat(),
    };
    let mut trials: Vec<Trial> = tests
        .into_iter()
        .map(|(test, run)| {
            let shared = shared.clone();
            Trial::test(format!("{name}::{test}"), move || {
                on_mesh(&shared, owner, run)
            })
        })
        .collect();
    trials.push(Trial::test(
        format!("{name}::leaves_nothing_behind"),
        move || stop(&shared),
    ));
    trials
}

fn on_mesh(
    shared: &Shared,
    owner: Owner,
    run: fn(&Mesh) -> anyhow::Result<()>,
) -> Result<(), Failed> {
    let mut started = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let started = match &mut *started {
        Some(started) => started,
        empty => empty.insert(start(owner)?),
    };
    run(&started.mesh).map_err(|error| format!("{error:#}").into())
}

fn start(owner: Owner) -> Result<Started, Failed> {
    let local = Local::start(owner).map_err(|error| Failed::from(format!("{error:#}")))?;
    let full = std::env::var_os("MESH_E2E_FULL").is_some();
    let local = Arc::new(local);
    let mesh = Mesh {
        platform: local.clone() as Arc<dyn Platform>,
        samples: Local::samples(),
        pace: if full { Pace::full() } else { Pace::short() },
    };
    Ok(Started { local, mesh })
}

fn stop(shared: &Shared) -> Result<(), Failed> {
    let Some(Started { local, mesh }) =
        shared.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return Ok(());
    };
    drop(mesh);
    let local = Arc::into_inner(local).ok_or("the mesh is still in use")?;
    local.stop().map_err(|error| format!("{error:#}").into())
}

#[expect(clippy::print_stderr, reason = "a skipped suite must be seen")]
fn say(text: &str) {
    eprintln!("{text}");
}
