//! Runs every suite on every platform that this machine has: the local platform as the user who
//! runs the tests and, when that is root, as an ordinary user too; and a Kubernetes cluster when
//! `KUBECONFIG` names one.
//!
//! `cargo test -p mesh-e2e --test mesh -- NAME` runs some; `MESH_E2E_FULL=1` takes the full times.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use mesh_e2e::platform::kubernetes::{self, Kubernetes};
use mesh_e2e::platform::local::{self, Local, Owner};
use mesh_e2e::platform::{self, Platform};
use mesh_e2e::suites::{self, Mesh, Pace, Test};

/// Where a mesh runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Local(Owner),
    Kubernetes,
}

const PLACES: [Place; 3] = [
    Place::Local(Owner::Me),
    Place::Local(Owner::Nobody),
    Place::Kubernetes,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test changes the mesh: one at a time.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for place in PLACES {
        match place.unavailable() {
            None => trials.extend(trials_on(place)),
            Some(reason) => say(&format!(
                "SKIPPED: every end-to-end test of the platform `{}`: {reason}",
                place.name()
            )),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Local(Owner::Me) => "local",
            Self::Local(Owner::Nobody) => "local-as-ordinary-user",
            Self::Kubernetes => "kubernetes",
        }
    }

    fn unavailable(self) -> Option<String> {
        match self {
            Self::Local(owner) => local::unavailable(owner),
            Self::Kubernetes => kubernetes::unavailable(),
        }
    }

    fn tests(self) -> Vec<Test> {
        match self {
            Self::Local(Owner::Me) => suites::all(),
            Self::Kubernetes => [&suites::all(), suites::cluster::TESTS].concat(),
            // What differs for an ordinary user is how the mesh is set up, not what it does then.
            Self::Local(Owner::Nobody) => [
                suites::bookinfo::TESTS,
                suites::protocols::TESTS,
                suites::mtls::TESTS,
            ]
            .concat(),
        }
    }

    fn start(self) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Local(owner) => Running::Local(Arc::new(Local::start(owner)?)),
            Self::Kubernetes => Running::Kubernetes(Arc::new(Kubernetes::start()?)),
        })
    }
}

/// A platform that can be stopped once nobody uses it any more.
enum Running {
    Local(Arc<Local>),
    Kubernetes(Arc<Kubernetes>),
}

impl Running {
    fn platform(&self) -> Arc<dyn Platform> {
        match self {
            Self::Local(local) => local.clone(),
            Self::Kubernetes(kubernetes) => kubernetes.clone(),
        }
    }

    /// `None`: somebody still uses it.
    fn stop(self) -> Option<anyhow::Result<()>> {
        match self {
            Self::Local(local) => Arc::into_inner(local).map(Local::stop),
            Self::Kubernetes(kubernetes) => Arc::into_inner(kubernetes).map(Kubernetes::stop),
        }
    }
}

/// A mesh that the first test starts and the last one stops.
type Shared = Arc<Mutex<Option<Started>>>;

struct Started {
    running: Running,
    mesh: Mesh,
}

fn trials_on(place: Place) -> Vec<Trial> {
    let shared = Shared::default();
    let name = place.name();
    let mut trials: Vec<Trial> = place
        .tests()
        .into_iter()
        .map(|(test, run)| {
            let shared = shared.clone();
            Trial::test(format!("{name}::{test}"), move || {
                on_mesh(&shared, place, run)
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
    place: Place,
    run: fn(&Mesh) -> anyhow::Result<()>,
) -> Result<(), Failed> {
    let mut started = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let started = match &mut *started {
        Some(started) => started,
        empty => empty.insert(start(place)?),
    };
    run(&started.mesh).map_err(|error| format!("{error:#}").into())
}

fn start(place: Place) -> Result<Started, Failed> {
    let running = place
        .start()
        .map_err(|error| Failed::from(format!("{error:#}")))?;
    let mut pace = match std::env::var_os("MESH_E2E_FULL") {
        Some(_) => Pace::full(),
        None => Pace::short(),
    };
    if place == Place::Kubernetes {
        pace.requests_per_second = Pace::OPTIMISED;
    }
    let mesh = Mesh {
        platform: running.platform(),
        samples: platform::samples(),
        pace,
    };
    Ok(Started { running, mesh })
}

fn stop(shared: &Shared) -> Result<(), Failed> {
    let Some(Started { running, mesh }) =
        shared.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return Ok(());
    };
    drop(mesh);
    let stopped = running.stop().ok_or("the mesh is still in use")?;
    stopped.map_err(|error| format!("{error:#}").into())
}

#[expect(clippy::print_stderr, reason = "a skipped suite must be seen")]
fn say(text: &str) {
    eprintln!("{text}");
}
