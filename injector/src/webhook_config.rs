//! Keeps the configurations of our own webhooks current in the API server.
//!
//! Charts install them without the certificate that the API server has to trust, since only the
//! control plane has it. This writes `caBundle`, at start, when the root changes, and when
//! somebody overwrites it; and of validation it turns `failurePolicy` from `Ignore` to `Fail` once
//! an invalid object was refused, so that an installation can't lock itself out. Nothing else is
//! touched: a tool that owns the other fields sees no difference in them.
//!
//! - `webhook_config/hooks.rs`: the two kinds of configurations, and the patch that one needs
//! - `webhook_config/probe.rs`: whether validation answers

mod hooks;
mod probe;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use mesh_telemetry::metrics::{CounterFamily, Registry};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Cluster;
use hooks::{Configuration, Wanted};

/// Least time between two rounds of patches: if somebody else insists on another value, the API
/// server doesn't suffer from it.
const PAUSE: Duration = Duration::from_millis(500);
/// How soon a failed patch is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Who writes, in the objects' `managedFields`.
const MANAGER: &str = "meshd-webhooks";

/// Keeps all webhook configurations with the label `istio.io/rev` of `cluster`'s revision current,
/// as far as their webhooks call `cluster`'s own service (or a URL).
///
/// `bundle`: root certificates in PEM; empty while there are none. The future does the work, and
/// ends when the bundle's sender is gone.
pub fn keep(
    client: Client,
    cluster: Cluster,
    bundle: watch::Receiver<String>,
    registry: &Registry,
) -> impl Future<Output = ()> + Send + use<> {
    let metrics = Metrics {
        patches: registry.counter(
            "webhook_patch_attempts_total",
            "Attempts to write the root certificates into a webhook configuration.",
            &["name"],
        ),
        failures: registry.counter(
            "webhook_patch_failures_total",
            "Attempts that failed.",
            &["name"],
        ),
    };
    let (unarmed, asked) = watch::channel(false);
    let (answer, answers) = watch::channel(false);
    let arming = Arming { unarmed, answers };
    let mutating: Keeper<MutatingWebhookConfiguration> =
        Keeper::new(&client, &cluster, bundle.clone(), None, metrics.clone());
    let validating: Keeper<ValidatingWebhookConfiguration> =
        Keeper::new(&client, &cluster, bundle, Some(arming), metrics);
    let probing = probe::run(client, cluster, asked, answer);
    async move {
        tokio::join!(
            Box::pin(mutating.run()),
            Box::pin(validating.run()),
            Box::pin(probing),
        );
    }
}

/// How validation comes to fail closed.
struct Arming {
    /// Whether there is a webhook that still fails open: only then is it probed.
    unarmed: watch::Sender<bool>,
    /// Whether validation has answered.
    answers: watch::Receiver<bool>,
}

impl Arming {
    /// Ends when validation has answered, which it does once.
    async fn answered(arming: &mut Option<Arming>) {
        if let Some(arming) = arming
            && arming.answers.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

#[derive(Clone)]
struct Metrics {
    patches: CounterFamily,
    failures: CounterFamily,
}

/// Keeps the configurations of one kind.
struct Keeper<T> {
    api: Api<T>,
    cluster: Cluster,
    bundle: watch::Receiver<String>,
    /// `None`: the failure policy is not ours to change.
    arming: Option<Arming>,
    metrics: Metrics,
    /// The configurations as last seen.
    known: BTreeMap<String, T>,
    /// Words of the last failure, so that it is told once.
    failed: Option<String>,
}

impl<T: Configuration> Keeper<T> {
    fn new(
        client: &Client,
        cluster: &Cluster,
        bundle: watch::Receiver<String>,
        arming: Option<Arming>,
        metrics: Metrics,
    ) -> Self {
        Keeper {
            api: Api::all(client.clone()),
            cluster: cluster.clone(),
            bundle,
            arming,
            metrics,
            known: BTreeMap::new(),
            failed: None,
        }
    }

    async fn run(mut self) {
        let label = format!("istio.io/rev={}", self.cluster.revision_label());
        let config = watcher::Config::default().labels(&label);
        let mut events = Box::pin(watcher(self.api.clone(), config).default_backoff());
        let mut due = Instant::now();
        loop {
            let stale = self.stale();
            if let Some(arming) = &self.arming {
                let mut hooks = self.known.values().flat_map(Configuration::hooks);
                arming
                    .unarmed
                    .send_replace(hooks.any(|hook| hook.fails_open()));
            }
            tokio::select! {
                Some(event) = events.next() => self.see(event),
                changed = self.bundle.changed() => if changed.is_err() { return },
                () = Arming::answered(&mut self.arming) => {}
                () = tokio::time::sleep_until(due), if !stale.is_empty() => {
                    due = Instant::now() + self.write(stale).await;
                }
            }
        }
    }

    fn see(&mut self, event: Result<Event<T>, watcher::Error>) {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                self.known.insert(object.name_any(), object);
            }
            Ok(Event::Delete(object)) => {
                self.known.remove(&object.name_any());
            }
            Ok(Event::Init) => self.known.clear(),
            Ok(Event::InitDone) => {}
            Err(error) => self.complain(format!("watch the webhook configurations: {error}")),
        }
    }

    /// The patches that are needed, by name.
    fn stale(&self) -> Vec<(String, json_patch::Patch)> {
        let bundle = self.bundle.borrow();
        let answers = |arming: &Arming| *arming.answers.borrow();
        let wanted = Wanted {
            bundle: &bundle,
            service: &self.cluster.named("istiod"),
            namespace: &self.cluster.namespace,
            fail_closed: self.arming.as_ref().is_some_and(answers),
        };
        let patches = self.known.iter().map(|(name, object)| {
            let patch = wanted.patch(&object.hooks());
            (name.clone(), patch)
        });
        patches.filter(|(_, patch)| !patch.is_empty()).collect()
    }

    /// Writes the patches; gives how long to wait before the next round.
    async fn write(&mut self, stale: Vec<(String, json_patch::Patch)>) -> Duration {
        let mut pause = PAUSE;
        for (name, patch) in stale {
            self.metrics.patches.with(&[&name]).inc();
            let parameters = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::<()>::Json(patch);
            match mesh_kubernetes::answered(self.api.patch(&name, &parameters, &patch)).await {
                Ok(object) => {
                    tracing::info!(configuration = name, "webhook configuration is current");
                    self.known.insert(name, object);
                    self.failed = None;
                }
                Err(error) => {
                    self.metrics.failures.with(&[&name]).inc();
                    let error = mesh_kubernetes::explain(&error);
                    self.complain(format!("write the roots into {name}: {error}"));
                    pause = RETRY;
                }
            }
        }
        pause
    }

    fn complain(&mut self, problem: String) {
        if self.failed.as_ref() != Some(&problem) {
            tracing::warn!(problem, "webhook configurations may be out of date");
            self.failed = Some(problem);
        }
    }
}
