//! Leader election by Lease, for what only one replica may do.
//!
//! The rules are those of Kubernetes' own components (client-go's leader election): a candidate
//! takes a lease that nobody holds or whose holder has not renewed it for the lease's duration;
//! each write carries the resource version that was read, so that of two candidates only one
//! succeeds. Whether the holder renews is judged by our own clock from when we saw the lease
//! change, never by the times written in it: clocks of nodes may differ.
//!
//! A leader that cannot renew says so to the rest of the program before another may take over:
//! [`RENEW_DEADLINE`] is shorter than [`DURATION`].

mod election;

use std::pin::pin;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::explain;
use election::Election;

/// How long others wait for a holder that no longer renews. As Kubernetes' components have it.
pub const DURATION: Duration = Duration::from_secs(15);
/// A leader that hasn't renewed for that long no longer leads.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two attempts to take or to renew.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Time limit of one attempt: two fit before the deadline.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(4);

/// A running candidacy. Dropped without [`Campaign::resign`], it ends, and the lease runs out by
/// itself after [`DURATION`].
#[derive(Debug)]
pub struct Campaign {
    leading: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Runs for the lease `name` of `namespace` under `identity`, which no other candidate may have
/// (a pod's name). Starts a task and returns at once; the API server may come later.
pub fn campaign(client: Client, namespace: &str, name: &str, identity: &str) -> Campaign {
    let (leads, leading) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let candidate = Candidate {
        leases: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        election: Election::new(identity),
        resource_version: None,
        leads,
        trouble: false,
    };
    Campaign {
        leading,
        stop,
        task: tokio::spawn(Box::pin(candidate.run(stopped))),
    }
}

impl Campaign {
    /// Whether we lead, and news of it. The sender is gone once the candidacy has ended.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Ends the candidacy and gives a held lease up, so that another takes over at once. Stop
    /// what the leader does first.
    pub async fn resign(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Candidate {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    election: Election,
    /// Of the lease as last read or written; `None` before there is one.
    resource_version: Option<String>,
    leads: watch::Sender<bool>,
    /// The last attempt failed: said once, not every two seconds.
    trouble: bool,
}

impl Candidate {
    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        let mut stopped = pin!(stopped);
        loop {
            let limit = self.until_deadline(ATTEMPT_LIMIT);
            tokio::select! {
                attempt = tokio::time::timeout(limit, self.attempt()) => self.note(attempt),
                _ = &mut stopped => break,
            }
            self.publish(self.election.leads(Instant::now()));
            let pause = self.until_deadline(RETRY_PERIOD);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut stopped => break,
            }
            self.publish(self.election.leads(Instant::now()));
        }
        self.release().await;
    }

    /// `longest`, or less where our leadership ends before: it must be noticed then.
    fn until_deadline(&self, longest: Duration) -> Duration {
        self.election
            .leads_for(Instant::now())
            .map_or(longest, |left| left.min(longest))
    }

    /// Reads the lease and takes or renews it if we may. A lease that another was faster to
    /// write is no error.
    async fn attempt(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        match self.leases.get_opt(&self.name).await? {
            Some(lease) => {
                self.resource_version = lease.metadata.resource_version;
                let spec = lease.spec.unwrap_or_default();
                self.election.observe(spec, Instant::now());
                if !self.election.may_take(Instant::now()) {
                    return Ok(());
                }
            }
            None => {
                self.resource_version = None;
                self.election.forget();
            }
        }
        let spec = self.election.claim(jiff::Timestamp::now());
        match self.write(spec.clone()).await {
            Ok(()) => self.election.claimed(spec, began),
            Err(Error::Api(status)) if status.code == 409 => self.election.lost(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Creates the lease, or replaces the one that was read and no later one.
    async fn write(&mut self, spec: LeaseSpec) -> Result<(), Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                resource_version: self.resource_version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let parameters = PostParams::default();
        let written = if self.resource_version.is_some() {
            Box::pin(self.leases.replace(&self.name, &parameters, &lease)).await?
        } else {
            Box::pin(self.leases.create(&parameters, &lease)).await?
        };
        self.resource_version = written.metadata.resource_version;
        Ok(())
    }

    fn note(&mut self, attempt: Result<Result<(), Error>, tokio::time::error::Elapsed>) {
        let reason = match attempt {
            Ok(Ok(())) => {
                self.trouble = false;
                return;
            }
            Ok(Err(error)) => explain(&error),
            Err(_) => "the API server does not answer in time".to_owned(),
        };
        if !std::mem::replace(&mut self.trouble, true) {
            let (namespace, name) = (&self.namespace, &self.name);
            tracing::warn!(%namespace, lease = %name, %reason, "lease can be neither taken nor renewed");
        }
    }

    fn publish(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|led| {
            let changed = *led != leads;
            *led = leads;
            changed
        });
        let (namespace, name) = (&self.namespace, &self.name);
        match (changed, leads) {
            (false, _) => {}
            (true, true) => tracing::info!(%namespace, lease = %name, "leads from now on"),
            (true, false) => tracing::info!(%namespace, lease = %name, "leads no longer"),
        }
    }

    async fn release(&mut self) {
        let led = self.election.leads(Instant::now());
        self.publish(false);
        if !led {
            return;
        }
        let spec = self.election.released(jiff::Timestamp::now());
        match tokio::time::timeout(ATTEMPT_LIMIT, self.write(spec)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.name, reason = explain(&error), "lease is not given up: others wait for its end");
            }
            Err(_) => {
                tracing::warn!(lease = %self.name, "lease is not given up in time: others wait for its end")
            }
        }
    }
}
