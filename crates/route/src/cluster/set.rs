//! The endpoints of a cluster in the form the balancer picks from: priorities, localities, pools.
//!
//! Source for priorities, overprovisioning and panic: Envoy's `LoadBalancerBase`.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cluster::balance::{Algorithm, Balancer};
use crate::cluster::endpoint::{Endpoint, Health};
use crate::cluster::{PickError, PickRequest};
use crate::conditions::derive;

/// How a cluster balances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BalancePolicy {
    /// Within a pool.
    pub algorithm: Algorithm,
    /// Below this share of healthy endpoints (in percent) all are used; 0: never.
    pub panic_percent: f64,
    /// Choose a locality by weight first.
    pub by_locality_weight: bool,
}

/// All endpoints of a cluster with what the balancer precomputed.
#[derive(Debug)]
pub struct EndpointSet {
    all: Box<[Arc<Endpoint>]>,
    /// Weight of (locality, priority), by position in `all`'s grouping; kept for rebuilding.
    weights: Box<[GroupWeight]>,
    overprovisioning: u32,
    priorities: Vec<Priority>,
    /// Share of each priority in percent; sums to 100 if any can take requests.
    loads: SmallVec<[u32; 4]>,
}

/// Weight of a locality in a priority.
#[derive(Clone, Debug)]
pub(crate) struct GroupWeight {
    pub(crate) locality: Arc<crate::cluster::endpoint::Locality>,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
}

#[derive(Debug, Default)]
struct Priority {
    pools: Vec<Pool>,
    total_weight: u64,
}

#[derive(Debug)]
struct Pool {
    weight: u64,
    endpoints: Box<[Arc<Endpoint>]>,
    balancer: Balancer,
}

impl EndpointSet {
    /// No endpoints.
    pub(crate) fn empty() -> Self {
        Self {
            all: Box::default(),
            weights: Box::default(),
            overprovisioning: 140,
            priorities: Vec::new(),
            loads: SmallVec::new(),
        }
    }

    /// `before`: the set that this one replaces; turns go on from there.
    pub(crate) fn build(
        all: Box<[Arc<Endpoint>]>,
        weights: Box<[GroupWeight]>,
        overprovisioning: u32,
        policy: &BalancePolicy,
        before: Option<&Self>,
    ) -> Self {
        let count = all
            .iter()
            .map(|endpoint| endpoint.priority + 1)
            .max()
            .unwrap_or(0);
        let groups: Vec<Vec<&Arc<Endpoint>>> = (0..count)
            .map(|priority| {
                all.iter()
                    .filter(|endpoint| endpoint.priority == priority)
                    .collect()
            })
            .collect();
        let (loads, panic) = loads(&groups, overprovisioning, policy.panic_percent);
        let turn = before.map_or(0, Self::turn);
        let priorities = groups
            .iter()
            .zip(&panic)
            .map(|(group, panic)| {
                let usable = if *panic {
                    group.iter().map(|e| Arc::clone(e)).collect()
                } else {
                    usable(group)
                };
                Priority::build(usable, group, &weights, overprovisioning, policy, turn)
            })
            .collect();
        Self {
            all,
            weights,
            overprovisioning,
            priorities,
            loads,
        }
    }

    /// The same endpoints after some were ejected or taken back.
    pub(crate) fn rebuilt(&self, policy: &BalancePolicy) -> Self {
        Self::build(
            self.all.clone(),
            self.weights.clone(),
            self.overprovisioning,
            policy,
            Some(self),
        )
    }

    /// All endpoints, whatever their health.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.all
    }

    fn turn(&self) -> u32 {
        let pools = self.priorities.iter().flat_map(|priority| &priority.pools);
        pools.map(|pool| pool.balancer.turn()).next().unwrap_or(0)
    }

    /// Picks; endpoints in `avoid` are left out if there are others. As the policy balances for
    /// `avoid_attempts` further picks, as Envoy does it; least load falls for a dead endpoint each
    /// time, so after them any other will do.
    pub(crate) fn pick(&self, request: &PickRequest<'_>) -> Result<&Arc<Endpoint>, PickError> {
        if self.all.is_empty() {
            return Err(PickError::Empty);
        }
        let mut picked = self.pick_once(request.hash, request.random)?;
        let mut attempt = 0;
        while is_avoided(request.avoid, picked.address) && attempt < request.avoid_attempts {
            attempt += 1;
            let step = u64::from(attempt) << 8;
            let hash = request.hash.map(|hash| derive(hash, step));
            picked = self.pick_once(hash, derive(request.random, step))?;
        }
        if attempt > 0 && is_avoided(request.avoid, picked.address) {
            return Ok(self.untried(request).unwrap_or(picked));
        }
        Ok(picked)
    }

    /// Any endpoint of a priority with load that is not avoided.
    fn untried(&self, request: &PickRequest<'_>) -> Option<&Arc<Endpoint>> {
        let untried = || {
            let priorities = self.priorities.iter().zip(&self.loads);
            let loaded = priorities.filter(|(_, load)| **load > 0);
            let pools = loaded.flat_map(|(priority, _)| &priority.pools);
            pools
                .flat_map(|pool| &pool.endpoints)
                .filter(|endpoint| !is_avoided(request.avoid, endpoint.address))
        };
        let at = request.random.checked_rem(untried().count() as u64)?;
        untried().nth(usize::try_from(at).expect("less than a count"))
    }

    fn pick_once(&self, hash: Option<u64>, random: u64) -> Result<&Arc<Endpoint>, PickError> {
        let priority = self
            .choose_priority(hash.unwrap_or(random))
            .ok_or(PickError::NoHealthy)?;
        let pool = priority
            .choose(derive(random, 5))
            .ok_or(PickError::NoHealthy)?;
        let at = pool.balancer.pick(&pool.endpoints, hash, derive(random, 6));
        Ok(&pool.endpoints[at])
    }

    fn choose_priority(&self, random: u64) -> Option<&Priority> {
        // One priority with all the load is the common case.
        if self.loads.first() == Some(&100) {
            return self.priorities.first();
        }
        let mut point = u32::try_from(random % 100).expect("below 100");
        for (priority, load) in self.priorities.iter().zip(&self.loads) {
            match point.checked_sub(*load) {
                None => return Some(priority),
                Some(rest) => point = rest,
            }
        }
        None
    }
}

fn is_avoided(avoid: &[SocketAddr], address: SocketAddr) -> bool {
    avoid.contains(&address)
}

/// Endpoints that take requests: the healthy ones, else the degraded ones.
fn usable(group: &[&Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
    let of = |health: Health| -> Vec<Arc<Endpoint>> {
        let fit = group
            .iter()
            .filter(|e| e.health == health && !e.is_ejected());
        fit.map(|e| Arc::clone(e)).collect()
    };
    let healthy = of(Health::Healthy);
    if healthy.is_empty() {
        of(Health::Degraded)
    } else {
        healthy
    }
}

/// Load of each priority in percent, and which ones are in panic.
fn loads(
    groups: &[Vec<&Arc<Endpoint>>],
    overprovisioning: u32,
    panic_percent: f64,
) -> (SmallVec<[u32; 4]>, Vec<bool>) {
    let availability: Vec<u32> = groups
        .iter()
        .map(|group| match group.len() {
            0 => 0,
            count => {
                let share = usable(group).len() as u64 * u64::from(overprovisioning) / count as u64;
                u32::try_from(share.min(100)).expect("at most 100")
            }
        })
        .collect();
    let total = availability.iter().sum::<u32>().min(100);
    let panic: Vec<bool> = groups
        .iter()
        .map(|group| {
            let healthy = usable(group).len() as f64 * 100.0 / group.len().max(1) as f64;
            total < 100 && healthy < panic_percent
        })
        .collect();
    if total == 0 {
        return (by_count(groups, &panic), panic);
    }
    let mut left = 100;
    let mut loads: SmallVec<[u32; 4]> = availability
        .iter()
        .map(|availability| {
            let load = left.min(availability * 100 / total);
            left -= load;
            load
        })
        .collect();
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    (loads, panic)
}

/// Nothing is healthy: endpoints of priorities in panic share the load by number.
fn by_count(groups: &[Vec<&Arc<Endpoint>>], panic: &[bool]) -> SmallVec<[u32; 4]> {
    let counts: Vec<usize> = groups
        .iter()
        .zip(panic)
        .map(|(group, panic)| if *panic { group.len() } else { 0 })
        .collect();
    let total: usize = counts.iter().sum();
    let mut loads: SmallVec<[u32; 4]> = counts
        .iter()
        .map(|count| u32::try_from(count * 100 / total.max(1)).expect("at most 100"))
        .collect();
    let left = if total > 0 {
        100 - loads.iter().sum::<u32>()
    } else {
        0
    };
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

impl Priority {
    fn build(
        usable: Vec<Arc<Endpoint>>,
        group: &[&Arc<Endpoint>],
        weights: &[GroupWeight],
        overprovisioning: u32,
        policy: &BalancePolicy,
        turn: u32,
    ) -> Self {
        if usable.is_empty() {
            return Self::default();
        }
        if !policy.by_locality_weight {
            return Self::of(vec![Pool::build(1, usable, policy, turn)]);
        }
        let priority = usable[0].priority;
        let pools = weights
            .iter()
            .filter(|weight| weight.priority == priority && weight.weight > 0)
            .filter_map(|weight| {
                let here = |endpoint: &Arc<Endpoint>| endpoint.locality == weight.locality;
                let all = group.iter().filter(|endpoint| here(endpoint)).count() as u64;
                let fit: Vec<_> = usable
                    .iter()
                    .filter(|endpoint| here(endpoint))
                    .cloned()
                    .collect();
                if fit.is_empty() {
                    return None;
                }
                // A locality that lost endpoints loses weight, beyond the overprovisioned slack.
                let share = (fit.len() as u64 * u64::from(overprovisioning) / all.max(1)).min(100);
                Some(Pool::build(
                    u64::from(weight.weight) * share,
                    fit,
                    policy,
                    turn,
                ))
            })
            .collect();
        Self::of(pools)
    }

    fn of(pools: Vec<Pool>) -> Self {
        Self {
            total_weight: pools.iter().map(|pool| pool.weight).sum(),
            pools,
        }
    }

    fn choose(&self, random: u64) -> Option<&Pool> {
        if self.pools.len() <= 1 {
            return self.pools.first();
        }
        let mut point = random % self.total_weight.max(1);
        self.pools
            .iter()
            .find(|pool| match point.checked_sub(pool.weight) {
                None => true,
                Some(rest) => {
                    point = rest;
                    false
                }
            })
    }
}

impl Pool {
    fn build(
        weight: u64,
        endpoints: Vec<Arc<Endpoint>>,
        policy: &BalancePolicy,
        turn: u32,
    ) -> Self {
        Self {
            weight,
            balancer: Balancer::build(policy.algorithm, &endpoints, turn),
            endpoints: endpoints.into(),
        }
    }
}
