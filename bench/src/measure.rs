//! One measurement: load on a running pair, and what the kernel says about the proxies meanwhile.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::child::{Child, Output, Processors, Program, arguments};
use crate::contender::Pair;
use crate::directory;
use crate::load::{Outcome, Spec};
use crate::place::Lane;
use crate::proc::Memory;
use crate::workload::{Times, Workload};

/// Beyond the times of the load, for its start and its end.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest wait for proxies to become idle.
const SETTLE: Duration = Duration::from_secs(5);
/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(50);

/// One measurement of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The round of the run, from 0.
    pub(crate) round: u32,
    /// What the load generator tells.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// Processor time of the client's proxy and the server's, seconds; empty without a mesh.
    pub(crate) processor_seconds: Vec<f64>,
    /// Memory of the same at the end, under load.
    pub(crate) memory: Vec<Memory>,
}

impl Sample {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.outcome.requests as f64 / self.outcome.seconds
    }

    /// Processor time per request and proxy, microseconds; `None` without a mesh.
    pub(crate) fn microseconds(&self) -> Option<f64> {
        if self.processor_seconds.is_empty() || self.outcome.requests == 0 {
            return None;
        }
        let proxies = self.processor_seconds.len() as f64;
        let seconds: f64 = self.processor_seconds.iter().sum();
        Some(seconds * 1e6 / proxies / self.outcome.requests as f64)
    }
}

/// Runs a workload against a pair.
///
/// # Errors
/// When a process of the pair or the load generator ends, or too many requests fail.
pub(crate) fn workload(
    pair: &mut Pair,
    workload: &Workload,
    times: Times,
    processors: &Processors,
) -> anyhow::Result<Sample> {
    let spec = Spec {
        target: pair.target(workload.lane),
        protocol: workload.lane.protocol,
        connections: workload.connections,
        streams: workload.streams,
        body: workload.body,
        rate: workload.rate,
        fresh: workload.fresh,
        warm_up: times.warm_up,
        measure: times.measure,
    };
    settle(pair)?;
    let mut generator = Generator::start("load", &spec, processors)?;
    generator.line(pair, times.warm_up + PATIENCE)?;
    let before = processor_times(pair)?;
    let line = generator.line(pair, times.measure + PATIENCE)?;
    let after = processor_times(pair)?;
    let outcome: Outcome =
        serde_json::from_str(&line).with_context(|| format!("the load generator said {line:?}"))?;
    let bad = outcome.failed + outcome.unfinished;
    ensure!(
        outcome.requests > 0 && bad * 100 <= outcome.requests,
        "{} requests failed or stayed without an answer, {} were answered: {}",
        bad,
        outcome.requests,
        outcome.failure.as_deref().unwrap_or("no error was seen")
    );
    let used = before.iter().zip(&after);
    Ok(Sample {
        round: 0,
        outcome,
        processor_seconds: used.map(|(b, a)| (*a - *b).as_secs_f64()).collect(),
        memory: memory(pair)?,
    })
}

/// Waits until the proxies have done what the load before left to do, such as ending its connections.
fn settle(pair: &mut Pair) -> anyhow::Result<()> {
    let end = Instant::now() + SETTLE;
    while Instant::now() < end {
        let before = processor_times(pair)?;
        std::thread::sleep(LOOK);
        pair.check()?;
        let after = processor_times(pair)?;
        let used = before
            .iter()
            .zip(&after)
            .map(|(before, after)| *after - *before);
        if used.sum::<Duration>() < LOOK / 10 {
            break;
        }
    }
    Ok(())
}

/// Waits until every lane answers: a pair is up.
///
/// # Errors
/// Names the lane that does not.
pub(crate) fn probe(
    pair: &mut Pair,
    lanes: &[Lane],
    processors: &Processors,
) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    for lane in lanes {
        while let Err(error) = hold(pair, *lane, 1, processors) {
            pair.check()?;
            ensure!(
                Instant::now() < end,
                "{} does not answer: {error:#}",
                lane.name
            );
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// Connections on a lane that stay open until the result is dropped.
///
/// # Errors
/// When one cannot be opened or used.
pub(crate) fn hold(
    pair: &mut Pair,
    lane: Lane,
    connections: usize,
    processors: &Processors,
) -> anyhow::Result<Generator> {
    let spec = Spec {
        target: pair.target(lane),
        protocol: lane.protocol,
        connections,
        streams: 1,
        body: 100,
        rate: None,
        fresh: false,
        warm_up: Duration::ZERO,
        measure: Duration::ZERO,
    };
    let mut generator = Generator::start("idle", &spec, processors)?;
    generator.line(pair, PATIENCE * 2)?;
    Ok(generator)
}

/// Processor time of the proxies so far.
///
/// # Errors
/// When one has ended.
pub(crate) fn processor_times(pair: &Pair) -> anyhow::Result<Vec<Duration>> {
    pair.proxies.iter().map(Child::processor_time).collect()
}

/// Memory of the proxies.
///
/// # Errors
/// When one has ended.
pub(crate) fn memory(pair: &Pair) -> anyhow::Result<Vec<Memory>> {
    pair.proxies.iter().map(Child::memory).collect()
}

/// A running load generator.
pub(crate) struct Generator {
    process: Child,
    lines: Receiver<String>,
    _directory: tempfile::TempDir,
}

impl Generator {
    fn start(kind: &str, spec: &Spec, processors: &Processors) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let directory = directory::make()?;
        let log = directory.path().join("load.log");
        let mut process = Child::start(Program {
            name: "the load generator",
            path: &own,
            arguments: arguments([&kind, &serde_json::to_string(spec)?]),
            environment: Vec::new(),
            processors: &processors.load,
            log: Some(log),
            output: Output::Piped,
        })?;
        let output = process.pipes().stdout.take().context("no pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            lines,
            _directory: directory,
        })
    }

    /// The next line, while everybody lives.
    fn line(&mut self, pair: &mut Pair, patience: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => {
                    pair.check()?;
                    ensure!(
                        Instant::now() < end,
                        "the load generator says nothing for {patience:?}"
                    );
                }
                Err(RecvTimeoutError::Disconnected) => {
                    pair.check()?;
                    return Err(self.process.end());
                }
            }
        }
    }
}
