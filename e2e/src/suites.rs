//! The suites, by what they are about. Each test leaves the mesh as it found it.

pub mod authorization;
pub mod bad_input;
pub mod bookinfo;
pub mod cluster;
pub mod destinations;
pub mod diagnostics;
pub mod echo;
pub mod egress;
pub mod external;
pub mod gateway;
pub mod mtls;
pub mod observability;
pub mod platform;
pub mod protocols;
pub mod resilience;
pub mod traffic;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bookinfo::{page, whole_page};
use crate::load::{Load, Outcome};
use crate::platform::Platform;

/// How soon a change of configuration must have reached every proxy.
pub const LIVE_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait for a change where a test is about what it does and not about how soon: a busy
/// machine must not fail it.
pub const SOON: Duration = Duration::from_secs(20);

/// What every test gets.
pub struct Mesh {
    /// Where the mesh runs.
    pub platform: Arc<dyn Platform>,
    /// The directory `samples/`.
    pub samples: PathBuf,
    /// How long outages and rotations are watched: the full times, or shorter ones.
    pub pace: Pace,
}

/// How long the slow tests watch.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long the control plane stays away.
    pub outage: Duration,
    /// How long traffic is watched while certificates rotate.
    pub rotation: Duration,
    /// How many requests the rollout test sends.
    pub rollout_requests: u64,
    /// How many requests leave a second.
    pub requests_per_second: u32,
}

impl Pace {
    /// Requests a second that two cores can do where the mesh's programs are optimised builds, as
    /// those in images are. A page is four services and eight proxies' work.
    pub const OPTIMISED: u32 = 200;
    const RATE: u32 = if cfg!(debug_assertions) {
        40
    } else {
        Self::OPTIMISED
    };

    /// For every run: about two minutes in all.
    #[must_use]
    pub fn short() -> Self {
        Self {
            outage: Duration::from_secs(10),
            rotation: Duration::from_secs(75),
            rollout_requests: 1_000,
            requests_per_second: Self::RATE,
        }
    }

    /// For a release (`MESH_E2E_FULL=1`): about ten minutes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            outage: Duration::from_secs(60),
            rotation: Duration::from_secs(300),
            rollout_requests: 5_000,
            requests_per_second: Self::RATE,
        }
    }
}

impl Mesh {
    /// A file of `samples/bookinfo/networking`.
    #[must_use]
    pub fn networking(&self, file: &str) -> PathBuf {
        self.samples.join("bookinfo/networking").join(file)
    }

    /// Applies `file` while `test` runs, and deletes its objects after it, whatever came of it.
    ///
    /// # Errors
    /// The test's own, or that of applying or deleting.
    pub fn with_file(
        &self,
        file: &Path,
        test: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.platform.apply(file)?;
        let result = test();
        self.platform.delete(file)?;
        result
    }

    /// Asks for whole pages while `disturb` runs, and tells what came of them.
    ///
    /// # Errors
    /// That of `disturb`, or when the load could not run at all.
    pub fn under_load(
        &self,
        per_second: u32,
        disturb: impl FnOnce(&Load) -> anyhow::Result<()>,
    ) -> anyhow::Result<Outcome> {
        let load = Load::start(self.platform.ingress(), page(), per_second, whole_page);
        let disturbed = disturb(&load);
        let outcome = load.finish()?;
        disturbed?;
        Ok(outcome)
    }

    /// [`Mesh::with_file`] for manifests in text.
    ///
    /// # Errors
    /// As [`Mesh::with_file`].
    pub fn with_text(
        &self,
        yaml: &str,
        test: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.platform.apply_text(yaml)?;
        let result = test();
        self.platform.delete_text(yaml)?;
        result
    }
}

/// A test: its name and what it does.
pub type Test = (&'static str, fn(&Mesh) -> anyhow::Result<()>);

/// Every test, in the order in which they run; the slow ones come last.
#[must_use]
pub fn all() -> Vec<Test> {
    [
        bookinfo::TESTS,
        diagnostics::TESTS,
        platform::TESTS,
        protocols::TESTS,
        mtls::TESTS,
        observability::TESTS,
        authorization::TESTS,
        egress::TESTS,
        traffic::TESTS,
        destinations::TESTS,
        external::TESTS,
        gateway::TESTS,
        bad_input::TESTS,
        resilience::TESTS,
    ]
    .concat()
}
