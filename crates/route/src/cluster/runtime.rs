//! What a cluster does at run time: pick, limit, judge, and take new endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use crate::cluster::assignment::{Assignment, Group, Host, Spec};
use crate::cluster::endpoint::{Endpoint, Health, Locality, State};
use crate::cluster::set::{EndpointSet, GroupWeight};
use crate::cluster::{
    Cluster, ClusterKind, DnsTarget, EndpointSource, Limit, LimitGuard, OutlierPolicy, Overflow,
    PickError, PickRequest, Picked, Report, SocketLabels, Workload,
};
use crate::conditions::derive;
use crate::tls::UpstreamTransport;

impl Cluster {
    /// Picks an endpoint and counts the request on it. One atomic load and a few counters; no
    /// lock. Allocates only for a new original destination.
    ///
    /// # Errors
    /// [`PickError`] if there is none to pick.
    pub fn pick(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        let endpoint = if self.kind == ClusterKind::OriginalDst {
            self.original(
                request
                    .original_destination
                    .ok_or(PickError::NoDestination)?,
            )
        } else {
            Arc::clone(self.slot.load().pick(request)?)
        };
        let in_flight = endpoint.begin();
        Ok(Picked {
            endpoint,
            in_flight,
        })
    }

    fn original(&self, destination: SocketAddr) -> Arc<Endpoint> {
        let address = SocketAddr::new(
            destination.ip(),
            self.port_override.unwrap_or(destination.port()),
        );
        if let Some(last) = &*self.last_original.load()
            && last.address == address
        {
            return Arc::clone(last);
        }
        let endpoint = Arc::new(Endpoint {
            address,
            hostname: None,
            transport: self.transport(&[]).clone(),
            workload: Arc::new(Workload::default()),
            weight: 1,
            health: Health::Healthy,
            locality: Arc::new(Locality::default()),
            priority: 0,
            meshed: false,
            hash_key: None,
            state: Arc::new(State::default()),
        });
        self.last_original.store(Some(Arc::clone(&endpoint)));
        endpoint
    }

    /// The current endpoints.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.slot.load_full()
    }

    /// Takes one unit of a limit; `Err` is an overflow, counted; it says nothing about endpoints.
    ///
    /// # Errors
    /// [`Overflow`] if the limit is reached.
    pub fn acquire(&self, limit: Limit) -> Result<LimitGuard, Overflow> {
        self.shared.usage.acquire(limit, &self.bounds)
    }

    /// Units of a limit in use now.
    pub fn in_use(&self, limit: Limit) -> u32 {
        self.shared.usage.current(limit)
    }

    /// How often a limit was found reached.
    pub fn overflows(&self, limit: Limit) -> u64 {
        self.shared.usage.overflows(limit)
    }

    /// Notes what an endpoint did; may eject it (then the set is rebuilt, the only costly case).
    pub fn report(&self, endpoint: &Arc<Endpoint>, report: Report, now: Instant) {
        if matches!(report, Report::LocalFailure | Report::Status(500..)) {
            endpoint.state.errors.fetch_add(1, Relaxed);
        }
        let Some(policy) = &self.outlier else {
            return;
        };
        let random = derive(endpoint.state.total.load(Relaxed), 7);
        if endpoint.state.streaks.note(policy, report, random) {
            self.eject(endpoint, policy, now);
        }
    }

    fn eject(&self, endpoint: &Arc<Endpoint>, policy: &OutlierPolicy, now: Instant) {
        let set = self.slot.load();
        let ejected = ejected(&set);
        let share = (ejected + 1) * 100 / set.all().len().max(1);
        let allowed =
            share <= policy.max_ejection_percent as usize || (policy.always_one && ejected == 0);
        if allowed && !endpoint.state.ejected.swap(true, Relaxed) {
            endpoint.state.streaks.eject(self.millis(now));
            self.rebuild();
        }
    }

    /// Takes ejected endpoints back whose time is over. Call about every [`Cluster::sweep_interval`].
    pub fn sweep(&self, now: Instant) {
        let Some(policy) = &self.outlier else {
            return;
        };
        let now = self.millis(now);
        let mut back = false;
        for endpoint in self.slot.load().all() {
            let state = &endpoint.state;
            if !state.ejected.load(Relaxed) {
                state.streaks.quiet();
            } else if state.streaks.is_over(policy, now) {
                state.streaks.forget();
                state.ejected.store(false, Relaxed);
                back = true;
            }
        }
        if back {
            self.rebuild();
        }
    }

    /// How often to call [`Cluster::sweep`]; `None`: no outlier detection here.
    pub fn sweep_interval(&self) -> Option<Duration> {
        self.outlier.map(|policy| policy.interval)
    }

    fn millis(&self, now: Instant) -> u64 {
        let epoch = *self.shared.epoch.get_or_init(|| now);
        u64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn rebuild(&self) {
        self.slot.rcu(|set| set.rebuilt(&self.balance));
    }

    /// Host names to resolve, for the DNS kinds.
    pub fn dns_targets(&self) -> &[DnsTarget] {
        &self.targets
    }

    /// Takes the addresses of one target; endpoints known before keep their state. Control
    /// thread only. An empty list leaves the target without endpoints: pass it only if the name
    /// is known not to exist, not after a failed query.
    pub fn set_resolved(&self, target: &DnsTarget, addresses: &[IpAddr]) {
        self.update(|source| {
            source.resolved.insert(target.clone(), addresses.to_vec());
        });
    }

    /// Takes new endpoints.
    pub(crate) fn set_assignment(&self, assignment: &Arc<Assignment>) {
        self.update(|source| source.assignment = Arc::clone(assignment));
    }

    /// Makes the first endpoint set: resolved names and states of endpoints are taken over from
    /// the version before.
    pub(crate) fn start(&self, before: Option<&Cluster>, assignment: Option<&Arc<Assignment>>) {
        let resolved = before.map(|before| lock(before).resolved.clone());
        let states = before
            .map(|before| states(&before.slot.load()))
            .unwrap_or_default();
        let mut source = lock(self);
        source.resolved = resolved.unwrap_or_default();
        if let Some(assignment) = assignment {
            source.assignment = Arc::clone(assignment);
        }
        self.refresh(&source, &states);
    }

    fn update(&self, change: impl FnOnce(&mut EndpointSource)) {
        let mut source = lock(self);
        change(&mut source);
        let states = states(&self.slot.load());
        self.refresh(&source, &states);
    }

    fn refresh(&self, source: &EndpointSource, states: &HashMap<SocketAddr, Arc<State>>) {
        let (all, weights) = self.materialise(source, states);
        let before = self.slot.load();
        let set = EndpointSet::build(
            all.into(),
            weights.into(),
            source.assignment.overprovisioning,
            &self.balance,
            Some(&before),
        );
        let known = ejected(&set);
        self.slot.store(Arc::new(set));
        // A worker may have ejected one between building and storing.
        if known != ejected(&self.slot.load()) {
            self.rebuild();
        }
    }

    fn materialise(
        &self,
        source: &EndpointSource,
        states: &HashMap<SocketAddr, Arc<State>>,
    ) -> (Vec<Arc<Endpoint>>, Vec<GroupWeight>) {
        let mut all = Vec::new();
        let mut weights = Vec::new();
        // An address counts once, as in Envoy: the first wins.
        let mut seen = HashSet::new();
        for group in &source.assignment.groups {
            weights.push(GroupWeight {
                locality: Arc::clone(&group.locality),
                priority: group.priority,
                weight: group.weight,
            });
            for spec in &group.endpoints {
                for address in self.addresses(spec, &source.resolved) {
                    if seen.insert(address) {
                        let state = states.get(&address).cloned().unwrap_or_default();
                        all.push(Arc::new(self.endpoint(address, spec, group, state)));
                    }
                }
            }
        }
        (all, weights)
    }

    fn addresses(
        &self,
        spec: &Spec,
        resolved: &BTreeMap<DnsTarget, Vec<IpAddr>>,
    ) -> Vec<SocketAddr> {
        match &spec.host {
            Host::Address(address) => vec![*address],
            Host::Name(host, port) => {
                let target = DnsTarget {
                    host: Arc::clone(host),
                    port: *port,
                };
                let limit = if self.kind == ClusterKind::LogicalDns {
                    1
                } else {
                    usize::MAX
                };
                let addresses = resolved.get(&target).map_or(&[][..], Vec::as_slice);
                addresses
                    .iter()
                    .take(limit)
                    .map(|ip| SocketAddr::new(*ip, *port))
                    .collect()
            }
        }
    }

    fn endpoint(
        &self,
        address: SocketAddr,
        spec: &Spec,
        group: &Group,
        state: Arc<State>,
    ) -> Endpoint {
        let name = match &spec.host {
            Host::Name(host, _) => Some(Arc::clone(host)),
            Host::Address(_) => None,
        };
        Endpoint {
            address,
            hostname: spec.hostname.clone().or(name),
            transport: self.transport(&spec.socket_labels).clone(),
            workload: Arc::clone(&spec.workload),
            weight: spec.weight,
            health: spec.health,
            locality: Arc::clone(&group.locality),
            priority: group.priority,
            meshed: spec
                .socket_labels
                .iter()
                .any(|(key, value)| (&**key, &**value) == ("tlsMode", "istio")),
            hash_key: spec.hash_key.clone(),
            state,
        }
    }

    /// The first socket whose labels are all among the endpoint's.
    fn transport(&self, labels: &[(Arc<str>, Arc<str>)]) -> &UpstreamTransport {
        let fits = |wanted: &SocketLabels| wanted.iter().all(|label| labels.contains(label));
        self.sockets
            .iter()
            .find(|(wanted, _)| fits(wanted))
            .map_or(&self.socket, |(_, socket)| socket)
    }

    /// Names of secrets its TLS needs.
    pub(crate) fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let sockets = self.sockets.iter().map(|(_, socket)| socket);
        sockets
            .chain(std::iter::once(&self.socket))
            .flat_map(|socket| match socket {
                UpstreamTransport::Tls(tls) => {
                    Some(tls.common.secret_names()).into_iter().flatten()
                }
                UpstreamTransport::Raw => None.into_iter().flatten(),
            })
    }
}

fn lock(cluster: &Cluster) -> std::sync::MutexGuard<'_, EndpointSource> {
    // A panic while it was held leaves a complete value: every change is one assignment.
    cluster
        .source
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn ejected(set: &EndpointSet) -> usize {
    set.all()
        .iter()
        .filter(|endpoint| endpoint.is_ejected())
        .count()
}

fn states(set: &EndpointSet) -> HashMap<SocketAddr, Arc<State>> {
    set.all()
        .iter()
        .map(|endpoint| (endpoint.address, Arc::clone(&endpoint.state)))
        .collect()
}

/// The assignment of a cluster whose endpoints are written in it.
pub(crate) fn targets(assignment: &Assignment) -> Vec<DnsTarget> {
    let specs = assignment.groups.iter().flat_map(|group| &group.endpoints);
    let mut targets: Vec<DnsTarget> = specs
        .filter_map(|spec| match &spec.host {
            Host::Name(host, port) => Some(DnsTarget {
                host: Arc::clone(host),
                port: *port,
            }),
            Host::Address(_) => None,
        })
        .collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
