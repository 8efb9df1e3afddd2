//! Balancing algorithms over one pool of endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use xxhash_rust::xxh64::xxh64;

use crate::cluster::endpoint::Endpoint;
use crate::conditions::derive;
use crate::hash::of_text;

/// Which algorithm, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, by weight.
    RoundRobin,
    /// The least loaded of this many random ones.
    LeastRequest {
        /// At least 1; 2 is the default.
        choices: u32,
    },
    /// Uniformly at random (weights don't count, as in Envoy).
    Random,
    /// Ketama ring.
    RingHash {
        /// Fewest entries, default 1024.
        min_size: u32,
        /// Most entries, default 8 Mi.
        max_size: u32,
        /// Hash host names instead of addresses.
        by_hostname: bool,
    },
    /// Maglev table.
    Maglev {
        /// Entries, a prime, default 65537.
        size: u32,
        /// Hash host names instead of addresses.
        by_hostname: bool,
    },
}

/// Longest schedule of weighted round robin; larger sums of weights are scaled down to it.
const LONGEST_SCHEDULE: u64 = 4096;

/// What an algorithm precomputes for a pool.
#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin {
        schedule: Schedule,
        turn: AtomicU32,
    },
    LeastRequest {
        schedule: Schedule,
        choices: u32,
    },
    Random,
    /// (hash, endpoint), by hash.
    Ring(Box<[(u64, u32)]>),
    Maglev(Box<[u32]>),
}

/// Positions in smooth weighted order; empty if all weights are equal.
#[derive(Debug)]
pub(crate) struct Schedule(Box<[u32]>);

impl Balancer {
    /// `endpoints`: not empty.
    pub(crate) fn build(algorithm: Algorithm, endpoints: &[Arc<Endpoint>], turn: u32) -> Self {
        match algorithm {
            Algorithm::RoundRobin => Self::RoundRobin {
                schedule: Schedule::build(endpoints),
                turn: AtomicU32::new(turn),
            },
            Algorithm::LeastRequest { choices } => Self::LeastRequest {
                schedule: Schedule::build(endpoints),
                choices,
            },
            Algorithm::Random => Self::Random,
            Algorithm::RingHash {
                min_size,
                max_size,
                by_hostname,
            } => Self::Ring(ring(endpoints, min_size, max_size, by_hostname)),
            Algorithm::Maglev { size, by_hostname } => {
                Self::Maglev(maglev(endpoints, size, by_hostname))
            }
        }
    }

    /// The position of the picked endpoint. `hash` moves ring and table; else `random`.
    pub(crate) fn pick(
        &self,
        endpoints: &[Arc<Endpoint>],
        hash: Option<u64>,
        random: u64,
    ) -> usize {
        let count = endpoints.len();
        match self {
            Self::RoundRobin { schedule, turn } => {
                schedule.at(turn.fetch_add(1, Relaxed) as usize, count)
            }
            Self::LeastRequest { schedule, choices } => {
                let candidate = |step: u32| {
                    schedule.at(spread(derive(random, u64::from(step)), usize::MAX), count)
                };
                (0..*choices)
                    .map(candidate)
                    .min_by_key(|at| endpoints[*at].active())
                    .unwrap_or_else(|| spread(random, count))
            }
            Self::Random => spread(random, count),
            Self::Ring(ring) => {
                let hash = hash.unwrap_or(random);
                let at = ring.partition_point(|(point, _)| *point < hash);
                ring[if at == ring.len() { 0 } else { at }].1 as usize
            }
            Self::Maglev(table) => {
                let hash = hash.unwrap_or(random);
                let size = table.len() as u64;
                table[usize::try_from(hash % size).expect("less than the table")] as usize
            }
        }
    }

    /// Where the turn stands, to go on from there in the next version.
    pub(crate) fn turn(&self) -> u32 {
        match self {
            Self::RoundRobin { turn, .. } => turn.load(Relaxed),
            _ => 0,
        }
    }
}

/// A number below `count` from the upper half of a random one, whose low bits others use.
fn spread(random: u64, count: usize) -> usize {
    let count = count.min(u32::MAX as usize) as u64;
    usize::try_from(((random >> 32) * count) >> 32).expect("less than count")
}

impl Schedule {
    /// Smooth weighted round robin (nginx): in every step each weight is added to its owner's
    /// credit, the richest is taken and pays the sum. Ours is run ahead, once.
    fn build(endpoints: &[Arc<Endpoint>]) -> Self {
        let weights = scaled(endpoints);
        if weights.iter().all(|weight| *weight == weights[0]) {
            return Self(Box::default());
        }
        let sum: i64 = weights.iter().sum();
        let mut credit = vec![0_i64; weights.len()];
        let mut order = Vec::with_capacity(usize::try_from(sum).expect("scaled"));
        for _ in 0..sum {
            for (credit, weight) in credit.iter_mut().zip(&weights) {
                *credit += weight;
            }
            let richest = (0..credit.len())
                .max_by_key(|at| (credit[*at], std::cmp::Reverse(*at)))
                .expect("not empty");
            credit[richest] -= sum;
            order.push(u32::try_from(richest).expect("fewer than 2^32 endpoints"));
        }
        Self(order.into())
    }

    fn at(&self, turn: usize, count: usize) -> usize {
        if self.0.is_empty() {
            turn % count
        } else {
            self.0[turn % self.0.len()] as usize
        }
    }
}

/// Weights divided by their common divisor, and scaled down if they'd make the schedule too long.
fn scaled(endpoints: &[Arc<Endpoint>]) -> Vec<i64> {
    fn divisor(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    let weights = endpoints
        .iter()
        .map(|endpoint| u64::from(endpoint.weight.max(1)));
    let common = weights.clone().fold(0, divisor).max(1);
    let sum: u64 = weights.clone().map(|weight| weight / common).sum();
    let longest = LONGEST_SCHEDULE.max(endpoints.len() as u64);
    weights
        .map(|weight| {
            let weight = weight / common;
            let weight = if sum > longest {
                (weight * longest / sum).max(1)
            } else {
                weight
            };
            i64::try_from(weight).expect("scaled")
        })
        .collect()
}

/// Source: Envoy's `RingHashLoadBalancer::Ring`: entries in proportion to weight, so many that
/// the lightest endpoint gets at least its share of `min_size`; hash of `KEY_INDEX`.
fn ring(
    endpoints: &[Arc<Endpoint>],
    min_size: u32,
    max_size: u32,
    by_hostname: bool,
) -> Box<[(u64, u32)]> {
    let total: f64 = endpoints
        .iter()
        .map(|endpoint| f64::from(endpoint.weight))
        .sum();
    let lightest = endpoints
        .iter()
        .map(|endpoint| f64::from(endpoint.weight) / total)
        .fold(1.0, f64::min);
    let scale = ((lightest * f64::from(min_size)).ceil() / lightest).min(f64::from(max_size));
    let mut entries = Vec::with_capacity(scale.ceil() as usize);
    let (mut current, mut target) = (0.0_f64, 0.0_f64);
    for (at, endpoint) in endpoints.iter().enumerate() {
        let at = u32::try_from(at).expect("fewer than 2^32 endpoints");
        target += scale * f64::from(endpoint.weight) / total;
        let mut index = 0_u32;
        while current < target {
            let hash = with_key(endpoint, by_hostname, |key| {
                of_text(format_args!("{key}_{index}"))
            });
            entries.push((hash, at));
            index += 1;
            current += 1.0;
        }
    }
    entries.sort_unstable();
    entries.into()
}

/// Source: Eisenbud et al., Maglev, 2016, section 3.4; weights as Envoy's: an endpoint gets its
/// turn in a round only if its weight's share has come up.
fn maglev(endpoints: &[Arc<Endpoint>], size: u32, by_hostname: bool) -> Box<[u32]> {
    struct Builder {
        offset: u64,
        skip: u64,
        next: u64,
        weight: f64,
        target: f64,
    }
    let size = u64::from(size);
    let heaviest = endpoints
        .iter()
        .map(|endpoint| endpoint.weight)
        .max()
        .unwrap_or(1);
    let mut builders: Vec<Builder> = endpoints
        .iter()
        .map(|endpoint| {
            with_key(endpoint, by_hostname, |key| {
                let key = key.to_string();
                Builder {
                    offset: xxh64(key.as_bytes(), 0) % size,
                    skip: xxh64(key.as_bytes(), 1) % (size - 1) + 1,
                    next: 0,
                    weight: f64::from(endpoint.weight) / f64::from(heaviest),
                    target: 0.0,
                }
            })
        })
        .collect();
    let free = u32::MAX;
    let mut table = vec![free; usize::try_from(size).expect("a table size")];
    let mut filled = 0;
    for round in 1_u64.. {
        for (at, builder) in builders.iter_mut().enumerate() {
            if (round as f64) * builder.weight < builder.target {
                continue;
            }
            builder.target += 1.0;
            let mut slot = (builder.offset + builder.skip * builder.next) % size;
            while table[slot as usize] != free {
                builder.next += 1;
                slot = (builder.offset + builder.skip * builder.next) % size;
            }
            table[slot as usize] = u32::try_from(at).expect("fewer than 2^32 endpoints");
            builder.next += 1;
            filled += 1;
            if filled == size {
                return table.into();
            }
        }
    }
    unreachable!("every round fills a slot: the heaviest endpoint always has its turn")
}

/// The key an endpoint is hashed by: its own key, its host name where asked for, its address.
fn with_key<T>(
    endpoint: &Endpoint,
    by_hostname: bool,
    use_key: impl Fn(&dyn std::fmt::Display) -> T,
) -> T {
    let name = endpoint.hostname.as_ref().filter(|_| by_hostname);
    match endpoint.hash_key.as_ref().or(name) {
        Some(key) => use_key(key),
        None => use_key(&endpoint.address),
    }
}
