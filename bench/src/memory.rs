//! Memory and idle processor time: with services that are only configured, and with connections that are
//! only open. Each on a pair of its own, since what load left behind would be counted, too.

use std::time::{Duration, Instant};

use crate::contender::{Contender, Pair, Programs, Setup};
use crate::measure;
use crate::place;
use crate::proc::Memory;
use crate::results::{Results, Situation};

/// After a start, for what a proxy does once.
const SETTLE: Duration = Duration::from_secs(1);

/// Looks at a pair that was just started and is ready.
///
/// # Errors
/// When a proxy has ended.
pub(crate) fn idle(pair: &Pair, contender: Contender, results: &mut Results) -> anyhow::Result<()> {
    let found = measure::memory(pair)?;
    if let Some(mean) = mean(&found) {
        results.add_memory(Situation::Idle, contender, mean, None);
    }
    Ok(())
}

/// Memory of the client's proxy with `setup.services` services, and how busy it is for `watch`.
///
/// # Errors
/// When the pair does not come up.
pub(crate) fn services(
    contender: Contender,
    programs: &Programs,
    setup: &Setup,
    watch: Duration,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(contender, programs, setup)?;
    measure::probe(&mut pair, &[place::HTTP1], &setup.processors)?;
    std::thread::sleep(SETTLE);
    let (from, start) = (measure::processor_times(&pair)?, Instant::now());
    std::thread::sleep(watch);
    pair.check()?;
    let (to, length) = (measure::processor_times(&pair)?, start.elapsed());
    let found = measure::memory(&pair)?;
    if let Some(((from, to), memory)) = from.first().zip(to.first()).zip(found.first()) {
        let busy = (*to - *from).as_secs_f64() / length.as_secs_f64();
        let situation = Situation::Services(setup.services);
        results.add_memory(situation, contender, *memory, Some(busy * 100.0));
    }
    Ok(())
}

/// Memory with `connections` idle mTLS connections.
///
/// # Errors
/// When the pair does not come up or the connections cannot be opened.
pub(crate) fn connections(
    contender: Contender,
    programs: &Programs,
    setup: &Setup,
    connections: usize,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(contender, programs, setup)?;
    measure::probe(&mut pair, &[place::TCP], &setup.processors)?;
    let held = measure::hold(&mut pair, place::TCP, connections, &setup.processors)?;
    std::thread::sleep(SETTLE);
    if let Some(mean) = mean(&measure::memory(&pair)?) {
        results.add_memory(Situation::Connections(connections), contender, mean, None);
    }
    drop(held);
    Ok(())
}

fn mean(of: &[Memory]) -> Option<Memory> {
    let count = u64::try_from(of.len()).ok().filter(|count| *count > 0)?;
    Some(Memory {
        resident: of.iter().map(|one| one.resident).sum::<u64>() / count,
        anonymous: of.iter().map(|one| one.anonymous).sum::<u64>() / count,
    })
}
