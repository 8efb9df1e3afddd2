//! What a run found.

use serde::Serialize;

use crate::contender::Contender;
use crate::measure::Sample;
use crate::proc::Memory;

/// Everything a run found; the shape of `--json`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// Where and when.
    pub(crate) machine: Machine,
    /// Workloads, by contender.
    pub(crate) workloads: Vec<OfWorkload>,
    /// Memory and idle processor time, by contender.
    pub(crate) memory: Vec<OfMemory>,
    /// Parts of the engine, by name: nanoseconds of one operation.
    pub(crate) parts: Vec<Part>,
    /// The control plane under many proxies.
    pub(crate) control_plane: Option<crate::swarm::Findings>,
    /// What went wrong.
    pub(crate) failures: Vec<Failure>,
}

/// Something that went wrong; the rest went on.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// With whom; `None`: with what is measured without contenders.
    pub(crate) contender: Option<Contender>,
    /// In words.
    pub(crate) what: String,
}

impl Failure {
    /// It is ours, not that of somebody who is only compared with us.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self.contender, Some(Contender::Envoy | Contender::Haproxy))
    }
}

/// Where and when a run was.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// The command line.
    pub(crate) command: String,
    /// UTC, as `2026-01-31 12:00`.
    pub(crate) date: String,
    /// The processor's name.
    pub(crate) processor: String,
    /// Processors that could be used.
    pub(crate) processors: usize,
    /// The kernel.
    pub(crate) kernel: String,
    /// Versions of the contenders, for people.
    pub(crate) versions: Vec<String>,
    /// The profile of our programs: `release` or `debug`.
    pub(crate) profile: String,
    /// Seconds of each measurement.
    pub(crate) seconds: f64,
    /// Rounds.
    pub(crate) rounds: u32,
}

/// A contender's samples of a workload, one for each round.
#[derive(Debug, Serialize)]
pub(crate) struct OfWorkload {
    /// The workload's name.
    pub(crate) workload: String,
    /// Who.
    pub(crate) contender: Contender,
    /// One for each round that succeeded.
    pub(crate) samples: Vec<Sample>,
}

/// A situation in which memory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Situation {
    /// Started, ready, never used. Mean of both proxies.
    Idle,
    /// With that many services configured at the client's proxy, never used.
    Services(usize),
    /// With that many idle mTLS connections. Mean of both proxies.
    Connections(usize),
}

/// A contender's memory in a situation, one sample for each round.
#[derive(Debug, Serialize)]
pub(crate) struct OfMemory {
    /// Which situation.
    pub(crate) situation: Situation,
    /// Who.
    pub(crate) contender: Contender,
    /// Memory of a proxy.
    pub(crate) samples: Vec<Memory>,
    /// Percent of a processor that the proxy uses while nothing happens.
    pub(crate) idle_percent: Vec<f64>,
}

/// The cost of a part.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    /// Its name.
    pub(crate) name: String,
    /// Nanoseconds of one operation, the median of some hundred batches.
    pub(crate) nanoseconds: f64,
}

impl Results {
    /// Adds a sample.
    pub(crate) fn add_sample(&mut self, workload: &str, contender: Contender, sample: Sample) {
        let known = self
            .workloads
            .iter_mut()
            .find(|one| one.workload == workload && one.contender == contender);
        match known {
            Some(known) => known.samples.push(sample),
            None => self.workloads.push(OfWorkload {
                workload: workload.to_owned(),
                contender,
                samples: vec![sample],
            }),
        }
    }

    /// Adds what memory was found, and how busy the proxy was, if that was looked at.
    pub(crate) fn add_memory(
        &mut self,
        situation: Situation,
        contender: Contender,
        sample: Memory,
        idle_percent: Option<f64>,
    ) {
        let known = self
            .memory
            .iter()
            .position(|one| one.situation == situation && one.contender == contender);
        let at = known.unwrap_or_else(|| {
            self.memory.push(OfMemory {
                situation,
                contender,
                samples: Vec::new(),
                idle_percent: Vec::new(),
            });
            self.memory.len() - 1
        });
        self.memory[at].samples.push(sample);
        self.memory[at].idle_percent.extend(idle_percent);
    }

    /// The samples of a workload.
    pub(crate) fn samples(&self, workload: &str, contender: Contender) -> &[Sample] {
        self.workloads
            .iter()
            .find(|one| one.workload == workload && one.contender == contender)
            .map_or(&[], |one| &one.samples)
    }

    /// The samples of two contenders, pairs of the same round.
    pub(crate) fn pairs(
        &self,
        workload: &str,
        one: Contender,
        other: Contender,
    ) -> impl Iterator<Item = (&Sample, &Sample)> {
        let others = self.samples(workload, other);
        let same = move |one: &Sample| others.iter().find(|other| other.round == one.round);
        let ones = self.samples(workload, one).iter();
        ones.filter_map(move |one| Some((one, same(one)?)))
    }

    /// Nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        let tables = self.workloads.is_empty() && self.memory.is_empty() && self.parts.is_empty();
        tables && self.control_plane.is_none()
    }

    /// The median of a figure over the rounds.
    pub(crate) fn median(
        &self,
        workload: &str,
        contender: Contender,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<f64> {
        let samples = self.samples(workload, contender).iter();
        median(samples.filter_map(figure).collect())
    }

    /// The number of idle connections that memory was measured with.
    pub(crate) fn connections(&self) -> Option<usize> {
        self.memory.iter().find_map(|one| match one.situation {
            Situation::Connections(count) => Some(count),
            Situation::Idle | Situation::Services(_) => None,
        })
    }

    /// What is known of a contender's memory.
    pub(crate) fn memory(&self, situation: Situation, contender: Contender) -> Option<&OfMemory> {
        self.memory
            .iter()
            .find(|one| one.situation == situation && one.contender == contender)
    }
}

impl OfMemory {
    /// The medians of resident and anonymous memory, bytes.
    pub(crate) fn medians(&self) -> Option<(f64, f64)> {
        let of = |figure: fn(&Memory) -> u64| {
            median(self.samples.iter().map(|one| figure(one) as f64).collect())
        };
        Some((of(|one| one.resident)?, of(|one| one.anonymous)?))
    }
}

/// The median; `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.is_empty() {
        None
    } else if values.len() % 2 == 1 {
        Some(values[middle])
    } else {
        Some(f64::midpoint(values[middle - 1], values[middle]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_few() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    }
}
