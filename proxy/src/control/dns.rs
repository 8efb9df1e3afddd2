//! Resolution of STRICT_DNS and LOGICAL_DNS clusters, by the system's resolver.
//!
//! One task per host name and cluster; a failed resolution keeps the addresses found last.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_route::Cluster;
use mesh_route::cluster::{ClusterKind, DnsFamily, DnsOptions, DnsTarget};
use mesh_telemetry::metrics::CounterFamily;
use tokio::task::JoinHandle;

use super::Control;

/// Pause after a failure, at most the cluster's own interval.
const RETRY: Duration = Duration::from_secs(1);

/// Envoy's `dns_refresh_rate` where none is configured.
const DEFAULT_REFRESH: Duration = Duration::from_secs(5);

struct Lookup {
    cluster: Arc<Cluster>,
    task: JoinHandle<()>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps DNS clusters resolved until the task is dropped. Runs in a `LocalSet`.
pub async fn run(control: Rc<Control>) {
    let attempts = control.shared.registry.counter(
        "meshproxy_dns_lookups_total",
        "Resolutions of cluster host names.",
        &["result"],
    );
    let mut lookups: HashMap<(Arc<str>, DnsTarget), Lookup> = HashMap::new();
    loop {
        let changed = control.changed.notified();
        follow(&control, &mut lookups, &attempts);
        changed.await;
    }
}

fn follow(
    control: &Control,
    lookups: &mut HashMap<(Arc<str>, DnsTarget), Lookup>,
    attempts: &CounterFamily,
) {
    let snapshot = control.shared.snapshot.load();
    let dns = |cluster: &&Arc<Cluster>| {
        matches!(
            cluster.kind,
            ClusterKind::StrictDns | ClusterKind::LogicalDns
        )
    };
    // A changed cluster is another object, which knows no address yet.
    lookups.retain(|(name, target), lookup| {
        snapshot.cluster(name).is_some_and(|cluster| {
            Arc::ptr_eq(cluster, &lookup.cluster) && cluster.dns_targets().contains(target)
        })
    });
    for cluster in snapshot.clusters().filter(dns) {
        for target in cluster.dns_targets() {
            let key = (Arc::clone(&cluster.name), target.clone());
            lookups.entry(key).or_insert_with(|| Lookup {
                cluster: Arc::clone(cluster),
                task: tokio::task::spawn_local(resolve(
                    Arc::clone(cluster),
                    target.clone(),
                    attempts.clone(),
                )),
            });
        }
    }
}

async fn resolve(cluster: Arc<Cluster>, target: DnsTarget, attempts: CounterFamily) {
    let (resolved, failed) = (attempts.with(&["resolved"]), attempts.with(&["failed"]));
    let refresh = refresh_interval(&cluster.dns);
    loop {
        let pause = match tokio::net::lookup_host((&*target.host, target.port)).await {
            Ok(found) => {
                resolved.inc();
                let addresses = select(found.map(|address| address.ip()), cluster.dns.family);
                cluster.set_resolved(&target, &addresses);
                refresh
            }
            Err(error) => {
                failed.inc();
                tracing::warn!(cluster = %cluster.name, host = %target.host, %error, "host name is not resolved");
                refresh.min(RETRY)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Time between resolutions. The system's resolver tells no record's lifetime, so where that
/// should be followed we ask as often as Envoy does by default.
fn refresh_interval(options: &DnsOptions) -> Duration {
    if options.respect_ttl {
        options.refresh.min(DEFAULT_REFRESH)
    } else {
        options.refresh
    }
}

/// The addresses that the family setting wants, each once, in order of the answer.
fn select(found: impl Iterator<Item = IpAddr>, family: DnsFamily) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in found {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|address| address.is_ipv4());
    match family {
        DnsFamily::V4Only => v4,
        DnsFamily::V6Only => v6,
        DnsFamily::V4Preferred if !v4.is_empty() => v4,
        DnsFamily::V4Preferred => v6,
        DnsFamily::Auto if !v6.is_empty() => v6,
        DnsFamily::Auto => v4,
        DnsFamily::All => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_setting_selects_addresses() {
        let (four, six): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let of = |family| select([four, six, four].into_iter(), family);
        assert_eq!(of(DnsFamily::All), [four, six]);
        assert_eq!(of(DnsFamily::V4Only), [four]);
        assert_eq!(of(DnsFamily::Auto), [six]);
        assert_eq!(of(DnsFamily::V4Preferred), [four]);
        assert_eq!(select([six].into_iter(), DnsFamily::V4Preferred), [six]);
    }
}
