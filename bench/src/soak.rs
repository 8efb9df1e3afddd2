//! `soak`: our pair under connection churn for minutes, and whether its memory grows.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::child::{self, Processors};
use crate::contender::{Contender, Pair, Programs, Setup, install};
use crate::exclusive;
use crate::measure;
use crate::place::{self, Ports};
use crate::workload::{Times, Workload};

/// Each piece of the soak: load, then a look at the memory.
const PIECE: Duration = Duration::from_secs(10);
/// Growth that is still none: a megabyte in an hour, in bytes a minute.
const GROWTH: f64 = (1 << 20) as f64 / 60.0;

/// Arguments of the subcommand.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Requests a second, each on a new connection over mTLS.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Write the samples as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The first of 64 ports to use. Default: the first 64 from 24000 on of which none is taken.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    base_port: Option<u16>,
}

/// Memory of the two proxies after some time.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sample {
    minutes: f64,
    /// Anonymous memory of the client's proxy and the server's, bytes.
    anonymous: [f64; 2],
}

/// The subcommand.
///
/// # Errors
/// When the pair does not come up or does not stay, or many requests fail.
pub(crate) fn command(options: &Options) -> anyhow::Result<ExitCode> {
    let _alone = exclusive::wait();
    let own = std::env::current_exe().context("find this program")?;
    let programs = Programs {
        own: install::ours(own.parent().context("find this program's directory")?),
        envoy: Err("not needed".to_owned()),
        haproxy: Err("not needed".to_owned()),
    };
    let claim = Ports::claim(options.base_port)?;
    let setup = Setup {
        ports: claim.ports,
        processors: Processors::divide(1)?,
        workers: 1,
        peers_resume: false,
        open_files: child::raise_open_files()?,
        services: 0,
    };
    let mut pair = Pair::start(Contender::Mesh, &programs, &setup)?;
    measure::probe(&mut pair, &place::LANES, &setup.processors)?;
    let samples = samples(options, &mut pair, &setup)?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&samples)? + "\n")
            .with_context(|| format!("write {}", path.display()))?;
    }
    report(&samples)
}

fn samples(options: &Options, pair: &mut Pair, setup: &Setup) -> anyhow::Result<Vec<Sample>> {
    let churn = |name, lane| Workload {
        name,
        lane,
        connections: 16,
        streams: 1,
        body: 100,
        rate: Some(options.rate),
        fresh: true,
        workers: 1,
        quick: false,
    };
    let kinds = [
        churn("soak-http1", place::HTTP1_ONCE),
        churn("soak-grpc", place::GRPC),
        churn("soak-tcp", place::TCP),
    ];
    let times = Times {
        warm_up: Duration::from_millis(100),
        measure: PIECE,
    };
    let pieces = u64::from(options.minutes) * 60 / PIECE.as_secs();
    let mut samples = Vec::new();
    let start = std::time::Instant::now();
    let mut failed = 0;
    for (piece, kind) in (0..pieces).zip(kinds.iter().cycle()) {
        if let Err(error) = measure::workload(pair, kind, times, &setup.processors) {
            pair.check()?;
            // On a busy machine: what counts here is memory, as long as it is under load.
            writeln!(std::io::stderr(), "piece {piece}, {}: {error:#}", kind.name)?;
            failed += 1;
            ensure!(failed * 10 <= pieces, "every tenth piece has failed");
        }
        let memory = measure::memory(pair)?;
        let of = |proxy: usize| {
            let memory = memory.get(proxy).copied().unwrap_or_default();
            memory.anonymous as f64
        };
        let sample = Sample {
            minutes: start.elapsed().as_secs_f64() / 60.0,
            anonymous: [of(0), of(1)],
        };
        writeln!(
            std::io::stderr(),
            "{:6.1} min  {:.1} and {:.1} MiB anonymous",
            sample.minutes,
            sample.anonymous[0] / f64::from(1 << 20),
            sample.anonymous[1] / f64::from(1 << 20)
        )?;
        samples.push(sample);
    }
    Ok(samples)
}

fn report(samples: &[Sample]) -> anyhow::Result<ExitCode> {
    // The first part fills pools and caches.
    let settled = &samples[samples.len() / 4..];
    ensure!(settled.len() >= 2, "too short to tell");
    let mut grows = false;
    for (proxy, name) in ["client", "server"].into_iter().enumerate() {
        let points: Vec<(f64, f64)> = settled
            .iter()
            .map(|sample| (sample.minutes, sample.anonymous[proxy]))
            .collect();
        let slope = slope(&points);
        grows |= slope > GROWTH;
        writeln!(
            std::io::stdout(),
            "meshproxy of the {name}: {:+.1} KiB a minute (limit {:+.1})",
            slope / 1024.0,
            GROWTH / 1024.0
        )?;
    }
    Ok(if grows {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    both / square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_of_a_line() {
        let points = [(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)];
        assert!((slope(&points) - 2.0).abs() < 1e-9);
    }
}
