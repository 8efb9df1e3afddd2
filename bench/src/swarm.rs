//! `xds-swarm`: many simulated proxies on `meshd`, over real sockets.
//!
//! Each proxy opens a stream, asks for clusters and listeners, then for the endpoints and routes that
//! these name, as Envoy does, and acknowledges everything. Measured are the time until every proxy has
//! everything, the time of each endpoint change to each proxy, bytes, and the control plane's memory and
//! processor time. The proxies do not compile what they get: they look at names only, since they share the
//! machine with the control plane.

mod change;
mod proxy;
mod wire;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::LocalSet;

use crate::child::{self, Processors};
use crate::contender::{ControlPlane, ENDPOINTS, Mass, Setup, found, install};
use crate::directory;
use crate::exclusive;
use crate::place::{Ports, check_free};
use crate::proc::Memory;
use change::{Changing, Kind};
use proxy::{Event, Proxy};

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Arguments of the subcommand.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Simulated proxies.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    proxies: u32,
    /// Services.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    services: u32,
    /// What changes.
    #[arg(long, value_enum, default_value_t = Kind::Endpoints)]
    change: Kind,
    /// Changes, one after the other.
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// Milliseconds from one change's arrival everywhere to the next change.
    #[arg(long, default_value_t = 200)]
    pause: u64,
    /// The protocol: only what changed, or the state of the world.
    #[arg(long, value_enum, default_value_t = Flavour::Delta)]
    flavour: Flavour,
    /// Write the findings as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The first of 64 ports to use. Default: the first 64 from 24000 on of which none is taken.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    base_port: Option<u16>,
}

/// Kinds of ADS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flavour {
    /// `DeltaAggregatedResources`.
    Delta,
    /// `StreamAggregatedResources`.
    Sotw,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    proxies: usize,
    services: usize,
    flavour: Flavour,
    change: Kind,
    /// From the first connection to the last proxy's last resource.
    pub(crate) first_push_seconds: f64,
    /// Bytes of resources that a proxy got in it, the mean.
    first_push_bytes: f64,
    /// The control plane's processor seconds in it.
    first_push_processor_seconds: f64,
    /// Milliseconds of each change to each proxy.
    change_ms: Vec<Vec<f64>>,
    /// Bytes of resources that a proxy got for a change, the mean.
    change_bytes: f64,
    /// The control plane's memory: before any proxy, after the first push, at the end.
    memory: [Memory; 3],
}

impl Findings {
    /// Milliseconds until a change was at its last proxy: a percentile of the changes.
    pub(crate) fn change_to_last_ms(&self, percentile: f64) -> Option<f64> {
        let last = self.change_ms.iter();
        let last = last.map(|of_change| of_change.iter().copied().fold(0.0, f64::max));
        nearest(last.collect(), percentile)
    }

    /// Milliseconds until a change was at a proxy: a percentile over all.
    fn change_ms(&self, percentile: f64) -> Option<f64> {
        nearest(self.change_ms.concat(), percentile)
    }

    /// The most memory that was resident, bytes.
    pub(crate) fn most_resident(&self) -> f64 {
        let resident = self.memory.iter().map(|one| one.resident);
        resident.max().unwrap_or_default() as f64
    }

    /// Lines for a table.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let flavour = match self.flavour {
            Flavour::Delta => "delta",
            Flavour::Sotw => "state of the world",
        };
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        let memory = self.memory.map(|one| mib(one.resident as f64));
        let change = self.change.describe();
        let row = |name: &str, value: String| (name.to_owned(), value);
        vec![
            row(
                "simulated",
                format!(
                    "{} proxies, {} services, {flavour}",
                    self.proxies, self.services
                ),
            ),
            row(
                "first push to all proxies",
                format!(
                    "{:.2} s, {:.2} s of meshd's processor time",
                    self.first_push_seconds, self.first_push_processor_seconds
                ),
            ),
            row("resources per proxy in it", mib(self.first_push_bytes)),
            row(
                &format!("one {change}, a proxy, p50"),
                ms(self.change_ms(50.0)),
            ),
            row(
                &format!("one {change}, a proxy, p99"),
                ms(self.change_ms(99.0)),
            ),
            row(
                &format!("one {change}, the last proxy, p50"),
                ms(self.change_to_last_ms(50.0)),
            ),
            row(
                &format!("one {change}, the last proxy, p99"),
                ms(self.change_to_last_ms(99.0)),
            ),
            row(
                "resources per proxy and change",
                format!("{:.0} B", self.change_bytes),
            ),
            row(
                "meshd resident before, after the first push, at the end",
                memory.join(", "),
            ),
        ]
    }
}

/// The value at a percentile, of few values the next higher one.
fn nearest(mut values: Vec<f64>, percentile: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (percentile / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// The subcommand.
///
/// # Errors
/// When something could not be measured.
pub(crate) fn command(options: &Options) -> anyhow::Result<()> {
    let _alone = exclusive::wait();
    let own = std::env::current_exe().context("find this program")?;
    let own = own.parent().context("find this program's directory")?;
    let own = found(&install::ours(own))?;
    let claim = Ports::claim(options.base_port)?;
    let setup = Setup {
        ports: claim.ports,
        processors: Processors::default(),
        workers: 1,
        peers_resume: false,
        open_files: child::raise_open_files()?,
        services: options.services as usize,
    };
    let found = measure(&own, &setup, options)?;
    let mut out = std::io::stdout();
    for (name, value) in found.rows() {
        writeln!(out, "{name:58} {value}")?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&found)? + "\n")
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The part of a run on which targets rest.
///
/// # Errors
/// When something could not be measured.
pub(crate) fn for_targets(programs: &Path, setup: &Setup, quick: bool) -> anyhow::Result<Findings> {
    let options = Options {
        proxies: 1000,
        services: 1000,
        change: Kind::Endpoints,
        changes: if quick { 5 } else { 50 },
        pause: 200,
        flavour: Flavour::Delta,
        json: None,
        base_port: Some(setup.ports.base),
    };
    // The control plane may use every processor, and so may the proxies.
    let setup = Setup {
        processors: Processors::default(),
        services: options.services as usize,
        ..setup.clone()
    };
    measure(programs, &setup, &options)
}

fn measure(programs: &Path, setup: &Setup, options: &Options) -> anyhow::Result<Findings> {
    check_free(&setup.ports.of_mesh())?;
    let directory = directory::make()?;
    let mass = Mass {
        services: setup.services,
        endpoints: ENDPOINTS,
        port: setup.ports.mass(),
    };
    let (changing, manifests) = Changing::prepare(options.change, mass);
    let (plane, _) = ControlPlane::start(programs, setup, directory.path(), &manifests)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let swarm = Swarm {
        plane,
        changing,
        options: options.clone(),
        mass,
    };
    LocalSet::new()
        // A timer needs the runtime that it is made in.
        .block_on(&runtime, async {
            tokio::time::timeout(PATIENCE * 2, swarm.run()).await
        })
        .context("the proxies did not get everything in time")?
}

struct Swarm {
    plane: ControlPlane,
    changing: Changing,
    options: Options,
    mass: Mass,
}

impl Swarm {
    async fn run(mut self) -> anyhow::Result<Findings> {
        let proxies = self.options.proxies as usize;
        let (sender, mut events) = channel(proxies * 4);
        let before = self.plane.process.memory()?;
        let busy = self.plane.process.processor_time()?;
        let start = Instant::now();
        for number in 0..proxies {
            let proxy = Proxy {
                number,
                control: self.plane.xds(),
                flavour: self.options.flavour,
                services: self.mass.services,
                sign: self.changing.sign(),
                events: sender.clone(),
            };
            tokio::task::spawn_local(proxy.run());
        }
        let mut bytes = 0;
        let mut last = start;
        for _ in 0..proxies {
            match next(&mut events).await? {
                Event::Complete { bytes: of, at } => {
                    bytes += of;
                    last = last.max(at);
                }
                Event::Changed { .. } => {}
                Event::Failed { number, reason } => {
                    anyhow::bail!("proxy {number}: {reason}");
                }
            }
        }
        let after = self.plane.process.memory()?;
        let used = self.plane.process.processor_time()? - busy;
        let (change_ms, change_bytes) = self.changes(&mut events).await?;
        self.plane.process.check()?;
        Ok(Findings {
            proxies,
            services: self.mass.services,
            flavour: self.options.flavour,
            change: self.options.change,
            first_push_seconds: (last - start).as_secs_f64(),
            first_push_bytes: bytes as f64 / proxies as f64,
            first_push_processor_seconds: used.as_secs_f64(),
            change_ms,
            change_bytes,
            memory: [before, after, self.plane.process.memory()?],
        })
    }

    /// Changes the endpoints again and again; milliseconds of each change to each proxy, and bytes.
    async fn changes(
        &mut self,
        events: &mut Receiver<Event>,
    ) -> anyhow::Result<(Vec<Vec<f64>>, f64)> {
        let mut all = Vec::new();
        let mut bytes = 0;
        for number in 0..self.options.changes {
            tokio::time::sleep(Duration::from_millis(self.options.pause)).await;
            while events.try_recv().is_ok() {}
            let start = Instant::now();
            self.changing.change(&self.plane.config, number)?;
            let mut reached = Vec::new();
            while reached.len() < self.options.proxies as usize {
                match next(events).await? {
                    Event::Changed { at, bytes: of } => {
                        reached.push((at - start).as_secs_f64() * 1e3);
                        bytes += of;
                    }
                    Event::Complete { .. } => {}
                    Event::Failed { number, reason } => {
                        anyhow::bail!("proxy {number}: {reason}");
                    }
                }
            }
            all.push(reached);
        }
        let count: usize = all.iter().map(Vec::len).sum();
        Ok((all, bytes as f64 / count.max(1) as f64))
    }
}

async fn next(events: &mut Receiver<Event>) -> anyhow::Result<Event> {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    let event = event.with_context(|| format!("a proxy waits for more than {PATIENCE:?}"))?;
    ensure!(event.is_some(), "every proxy has ended");
    event.context("every proxy has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_values_err_on_the_high_side() {
        assert_eq!(nearest(vec![], 99.0), None);
        assert_eq!(nearest(vec![3.0, 1.0, 2.0], 99.0), Some(3.0));
        assert_eq!(nearest(vec![3.0, 1.0, 2.0], 50.0), Some(2.0));
    }
}
