//! The probes of one run of a container, in time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::sync::watch;

use super::{ExecProbe, Machine, Schedule, Target};

/// What the probes of a running container say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// The startup probe has passed, or there is none.
    pub(crate) started: bool,
    /// The readiness probe passes, or there is none (and the container has started).
    pub(crate) ready: bool,
    /// Last reason why it isn't ready.
    pub(crate) reason: Option<String>,
}

/// Probes a container until it has to be restarted; the result says why. Never returns for a
/// container whose startup and liveness probes are good.
///
/// `verdicts` starts as not started and not ready, and follows the probes.
pub(crate) async fn run(
    container: &Container,
    pod: IpAddr,
    exec: &ExecProbe,
    verdicts: &watch::Sender<Verdicts>,
) -> String {
    let prober = Prober {
        ports: named_ports(container),
        pod,
        exec,
        verdicts,
    };
    if let Some(probe) = &container.startup_probe
        && let Err(reason) = prober.until_started(probe).await
    {
        return format!("startup probe failed: {reason}");
    }
    let ready = container.readiness_probe.is_none();
    verdicts.send_modify(|verdicts| {
        verdicts.started = true;
        verdicts.ready = ready;
        verdicts.reason = None;
    });
    let liveness = async {
        match &container.liveness_probe {
            Some(probe) => prober.until_dead(probe).await,
            None => std::future::pending().await,
        }
    };
    let readiness = async {
        match &container.readiness_probe {
            Some(probe) => prober.follow_readiness(probe).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        reason = liveness => format!("liveness probe failed: {reason}"),
        () = readiness => "readiness ended".to_owned(),
    }
}

/// The container's ports by name.
pub(crate) fn named_ports(container: &Container) -> BTreeMap<String, u16> {
    let ports = container.ports.iter().flatten();
    ports
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect()
}

struct Prober<'a> {
    ports: BTreeMap<String, u16>,
    pod: IpAddr,
    exec: &'a ExecProbe,
    verdicts: &'a watch::Sender<Verdicts>,
}

impl Prober<'_> {
    async fn ask(&self, probe: &Probe, schedule: Schedule) -> Result<(), String> {
        Target::of(probe, self.pod, &self.ports)?
            .check(schedule.timeout, self.exec)
            .await
    }

    async fn until_started(&self, probe: &Probe) -> Result<(), String> {
        let schedule = Schedule::of(probe);
        let mut machine = Machine::new(schedule);
        tokio::time::sleep(schedule.initial_delay).await;
        let mut ticks = ticks(schedule);
        loop {
            ticks.tick().await;
            let result = self.ask(probe, schedule).await;
            let reason = result.as_ref().err().cloned();
            match machine.observe(result.is_ok()) {
                Some(true) => return Ok(()),
                Some(false) => return Err(reason.unwrap_or_default()),
                None => self.explain("startup", reason),
            }
        }
    }

    async fn until_dead(&self, probe: &Probe) -> String {
        let schedule = Schedule::of(probe);
        let mut machine = Machine::new(schedule);
        tokio::time::sleep(schedule.initial_delay).await;
        let mut ticks = ticks(schedule);
        loop {
            ticks.tick().await;
            let result = self.ask(probe, schedule).await;
            if machine.observe(result.is_ok()) == Some(false) {
                return result.err().unwrap_or_default();
            }
        }
    }

    async fn follow_readiness(&self, probe: &Probe) {
        let schedule = Schedule::of(probe);
        let mut machine = Machine::new(schedule);
        tokio::time::sleep(schedule.initial_delay).await;
        let mut ticks = ticks(schedule);
        loop {
            ticks.tick().await;
            let result = self.ask(probe, schedule).await;
            let reason = result.as_ref().err().cloned();
            if let Some(ready) = machine.observe(result.is_ok()) {
                self.verdicts.send_modify(|verdicts| verdicts.ready = ready);
            }
            self.explain("readiness", reason);
        }
    }

    fn explain(&self, kind: &str, reason: Option<String>) {
        let reason = reason.map(|reason| format!("{kind} probe: {reason}"));
        self.verdicts.send_if_modified(|verdicts| {
            let changed = verdicts.reason != reason;
            verdicts.reason = reason;
            changed
        });
    }
}

fn ticks(schedule: Schedule) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(schedule.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
