//! A run: the contenders in turn, round after round; then the report.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::child::Processors;
use crate::contender::{Contender, Pair, Programs, Setup, install};
use crate::measure::Sample;
use crate::options::Run;
use crate::place::{Claim, LANES, Ports};
use crate::results::{Failure, Results, Situation};
use crate::workload::{self, Times, Workload};
use crate::{child, contender, exclusive, measure, memory, parts, report, swarm};

/// Idle connections whose memory is measured; fewer where the limit of open files is below 20,200.
pub(crate) const CONNECTIONS: usize = 10_000;
/// Configured services whose memory is measured; the second number in full runs only.
pub(crate) const SERVICES: [usize; 2] = [1_000, 10_000];

/// What the rounds of a quick run may take of its two minutes: on a machine that is busy with
/// something else there is one round instead of two.
const QUICK_ROUNDS: Duration = Duration::from_secs(90);

/// Names of what is measured besides the workloads.
pub(crate) const PARTS: [&str; 5] = [
    "memory-idle",
    "memory-services",
    "memory-connections",
    "parts",
    "control-plane",
];

/// What a run measures.
struct Plan<'a> {
    options: &'a Run,
    times: Times,
    workloads: Vec<&'static Workload>,
    programs: Programs,
    claim: Claim,
}

impl Plan<'_> {
    fn wants(&self, name: &str) -> bool {
        selected(self.options, name)
    }
}

fn selected(options: &Run, name: &str) -> bool {
    options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
}

/// Measures, reports, and says whether all bounds held.
///
/// # Errors
/// When nothing can be measured, or a report cannot be written.
pub(crate) fn run(options: &Run) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    if options.list {
        for workload in workload::ALL {
            writeln!(out, "{:24} {}", workload.name, workload.describe())?;
        }
        for part in PARTS {
            writeln!(out, "{part}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let _alone = if options.together {
        None
    } else {
        exclusive::wait()
    };
    let plan = plan(options)?;
    let mut results = Results {
        machine: report::machine(options, &plan.programs, plan.times),
        ..Results::default()
    };
    let mut contenders: Vec<Contender> = Contender::ALL
        .into_iter()
        .filter(|one| options.contender.is_empty() || options.contender.contains(one))
        .collect();
    contenders.retain(|contender| available(*contender, &plan.programs, &mut results));
    let start = Instant::now();
    for round in 0..options.rounds {
        let spent = start.elapsed();
        if options.quick && round > 0 && spent + spent / round > QUICK_ROUNDS {
            say("no time for another round");
            results.machine.rounds = round;
            break;
        }
        for contender in &contenders {
            say(&format!("round {}: {}", round + 1, contender.name()));
            turn(&plan, *contender, round, &mut results);
        }
    }
    alone(&plan, &mut results);
    report::write(options, &results)
}

fn plan(options: &Run) -> anyhow::Result<Plan<'_>> {
    let seconds = options
        .seconds
        .unwrap_or(if options.quick { 0.5 } else { 5.0 });
    anyhow::ensure!(
        (0.05..=600.0).contains(&seconds),
        "--seconds must be from 0.05 to 600"
    );
    let measure = Duration::from_secs_f64(seconds);
    let workloads: Vec<&Workload> = workload::ALL
        .iter()
        .filter(|one| !options.quick || one.quick)
        .filter(|one| selected(options, one.name))
        .collect();
    anyhow::ensure!(
        !workloads.is_empty() || PARTS.iter().any(|part| selected(options, part)),
        "--only names nothing that there is; --list shows what there is"
    );
    let programs = install::find(&install::Wanted {
        envoy: options.envoy.clone(),
        haproxy: options.haproxy.clone(),
        offline: options.offline,
    })?;
    Ok(Plan {
        options,
        claim: Ports::claim(options.base_port)?,
        times: Times {
            warm_up: (measure / 4).clamp(Duration::from_millis(200), Duration::from_secs(1)),
            measure,
        },
        workloads,
        programs,
    })
}

fn available(contender: Contender, programs: &Programs, results: &mut Results) -> bool {
    let missing = match contender {
        Contender::Envoy => programs.envoy.as_ref().err(),
        Contender::Haproxy => programs.haproxy.as_ref().err(),
        Contender::Mesh => programs.own.as_ref().err(),
        Contender::Direct => None,
    };
    if let Some(reason) = missing {
        let reason = format!("left out: {reason}");
        fail(results, Some(contender), &reason);
    }
    missing.is_none()
}

/// One contender's turn of a round. What fails is told, and the rest goes on.
fn turn(plan: &Plan<'_>, contender: Contender, round: u32, results: &mut Results) {
    for workers in [1, 2] {
        let workloads: Vec<&Workload> = plan
            .workloads
            .iter()
            .copied()
            .filter(|one| one.workers == workers)
            .collect();
        let idle = workers == 1 && plan.wants("memory-idle") && contender != Contender::Direct;
        if workloads.is_empty() && !idle {
            continue;
        }
        let loads = Loads {
            round,
            workers,
            workloads,
            idle,
        };
        if let Err(error) = under_load(plan, contender, &loads, results) {
            fail(results, Some(contender), &format!("{error:#}"));
        }
    }
    // The configuration is what it is; one round tells.
    let repeated = round > 0 && plan.options.quick;
    if contender == Contender::Direct || repeated {
        return;
    }
    if let Err(error) = resting(plan, contender, results) {
        fail(results, Some(contender), &format!("{error:#}"));
    }
}

fn setup(plan: &Plan<'_>, workers: usize, services: usize) -> anyhow::Result<Setup> {
    Ok(Setup {
        ports: plan.claim.ports,
        processors: Processors::divide(workers)?,
        workers,
        peers_resume: plan.options.peers_resume,
        open_files: child::raise_open_files()?,
        services,
    })
}

/// What a pair is measured under, from its start to its end.
struct Loads<'a> {
    round: u32,
    workers: usize,
    workloads: Vec<&'a Workload>,
    /// Its memory before.
    idle: bool,
}

fn under_load(
    plan: &Plan<'_>,
    contender: Contender,
    loads: &Loads<'_>,
    results: &mut Results,
) -> anyhow::Result<()> {
    let setup = setup(plan, loads.workers, 0)?;
    let mut pair = Pair::start(contender, &plan.programs, &setup)?;
    if loads.idle {
        memory::idle(&pair, contender, results)?;
    }
    measure::probe(&mut pair, &LANES, &setup.processors)?;
    for workload in &loads.workloads {
        match measure::workload(&mut pair, workload, plan.times, &setup.processors) {
            Ok(sample) => {
                let micros = sample.microseconds();
                say(&format!(
                    "  {:22} {:>9.0}/s  {:>7} us/request and proxy  p99 {:.0} us",
                    workload.name,
                    sample.rate(),
                    micros.map_or("-".to_owned(), |micros| format!("{micros:.1}")),
                    sample.outcome.latency[2],
                ));
                let round = loads.round;
                results.add_sample(workload.name, contender, Sample { round, ..sample });
            }
            Err(error) => {
                let what = format!("{}: {error:#}", workload.name);
                fail(results, Some(contender), &what);
                // Without its processes nothing else can be measured in this turn.
                if pair.check().is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn resting(plan: &Plan<'_>, contender: Contender, results: &mut Results) -> anyhow::Result<()> {
    let compared = matches!(contender, Contender::Mesh | Contender::Envoy);
    if plan.wants("memory-services") && compared {
        let numbers = if plan.options.quick {
            &SERVICES[..1]
        } else {
            &SERVICES[..]
        };
        let watch = Duration::from_secs(if plan.options.quick { 2 } else { 10 });
        for services in numbers {
            let setup = setup(plan, 1, *services)?;
            memory::services(contender, &plan.programs, &setup, watch, results)?;
            let situation = Situation::Services(*services);
            tell_memory(
                results,
                situation,
                contender,
                &format!("{services} services"),
            );
        }
    }
    if plan.wants("memory-connections") && (compared || !plan.options.quick) {
        let setup = setup(plan, 1, 0)?;
        let count = CONNECTIONS.min(setup.connections());
        memory::connections(contender, &plan.programs, &setup, count, results)?;
        let situation = Situation::Connections(count);
        tell_memory(
            results,
            situation,
            contender,
            &format!("{count} connections"),
        );
    }
    Ok(())
}

fn tell_memory(results: &Results, situation: Situation, contender: Contender, what: &str) {
    let known = results.memory(situation, contender);
    if let Some((resident, anonymous)) = known.and_then(|known| known.medians()) {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        say(&format!(
            "  {what:22} {:.1} MiB resident, {:.1} MiB anonymous",
            mib(resident),
            mib(anonymous)
        ));
    }
}

/// What is measured without contenders.
fn alone(plan: &Plan<'_>, results: &mut Results) {
    if plan.wants("parts") {
        match parts::measure() {
            Ok(parts) => results.parts = parts,
            Err(error) => fail(results, None, &format!("parts: {error:#}")),
        }
    }
    if plan.wants("control-plane") {
        say("control plane");
        let found = setup(plan, 1, 0).and_then(|setup| {
            let own = contender::found(&plan.programs.own)?;
            swarm::for_targets(&own, &setup, plan.options.quick)
        });
        match found {
            Ok(found) => results.control_plane = Some(found),
            Err(error) => fail(results, None, &format!("control plane: {error:#}")),
        }
    }
}

fn fail(results: &mut Results, contender: Option<Contender>, what: &str) {
    let what = match contender {
        Some(contender) => format!("{}: {what}", contender.name()),
        None => what.to_owned(),
    };
    say(&what);
    results.failures.push(Failure { contender, what });
}

/// Progress goes to standard error, the report to standard output.
pub(crate) fn say(what: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{what}");
}
