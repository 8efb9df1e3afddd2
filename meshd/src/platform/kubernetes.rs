//! A mesh on Kubernetes: everything is read from the API server and kept there.

use std::sync::Arc;

use anyhow::Context;
use mesh_citadel::{Live, Verifier, distribute, root};
use mesh_injector::{Cluster, webhook_config};
use mesh_kubernetes::kube::Client;
use mesh_kubernetes::lease::{Campaign, campaign};
use mesh_kubernetes::{Target, connect};
use mesh_pilot::ingest::MeshConfigMap;
use mesh_pilot::ingest::kubernetes::{KubernetesSource, Settings};
use mesh_pilot::serve::SecretReaders;
use mesh_pilot::status::{Leadership, StatusWriter};
use mesh_telemetry::metrics::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Platform;
use crate::options::Options;

/// Who keeps the root certificate and gives it out. All revisions share the root, and the lease;
/// its name is Istio's for the latter.
const ROOT_LEASE: &str = "istio-namespace-controller-election";
/// Who writes the status of the mesh's resources without a revision. For those of a revision, its
/// name is behind this.
const STATUS_LEASE: &str = "istio-status-leader";

/// Opens the authority, and starts what runs beside the servers. Waits for the API server for as
/// long as it takes.
pub(crate) async fn start(options: &Options, metrics: &Registry) -> anyhow::Result<Platform> {
    let target = Target {
        kubeconfig: options.kubernetes.kubeconfig.clone(),
        context: None,
    };
    let client = connect(&target).await?;
    let settings = root::Settings {
        namespace: options.namespace.clone(),
        authority: options.authority()?,
        propagation: options.kubernetes.root_propagation,
    };
    let root = Box::pin(root::open(client.clone(), settings)).await?;
    let authority = root.live();
    let (mut writing, mut following) = (JoinSet::new(), JoinSet::new());

    let roots = run_for(&client, options, ROOT_LEASE)?;
    writing.spawn(root.run(roots.leading()));
    writing.spawn(distribute::run(
        client.clone(),
        authority.clone(),
        roots.leading(),
    ));

    let cluster = Cluster {
        namespace: options.namespace.clone(),
        revision: options.kubernetes.revision.clone(),
        cluster_id: options.kubernetes.cluster_id.clone(),
        trust_domain: options.trust_domain.clone(),
    };
    let (injection, follow) = mesh_injector::watch_inputs(client.clone(), cluster.clone(), metrics);
    following.spawn(follow);
    let (bundle, bundles) = watch::channel(authority.current().root_pem().to_owned());
    writing.spawn(follow_roots(authority.clone(), bundle));
    let (hooks, registry) = (client.clone(), metrics.clone());
    writing.spawn(async move {
        Box::pin(webhook_config::keep(hooks, cluster, bundles, &registry)).await;
    });

    let status = run_for(&client, options, STATUS_LEASE)?;
    let revision = match options.kubernetes.revision.as_str() {
        "" => "default",
        revision => revision,
    };
    let own_status = run_for(&client, options, &format!("{STATUS_LEASE}-{revision}"))?;
    let leadership = Leadership {
        shared: status.leading(),
        own: own_status.leading(),
    };
    let discovery = discovery(&client, options, metrics, leadership)?;
    Ok(Platform {
        authority,
        verifier: Arc::new(Verifier::token_review(client, &options.token_audience)),
        discovery,
        injection: Some(injection),
        campaigns: vec![roots, status, own_status],
        writing,
        following,
    })
}

/// Every replica has a name of its own: the host's is that of the pod; elsewhere, several may run
/// on one host.
fn run_for(client: &Client, options: &Options, lease: &str) -> anyhow::Result<Campaign> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("read the host's name, to run for leadership under it")?;
    let replica = format!("{}-{}", host.trim(), std::process::id());
    Ok(campaign(
        client.clone(),
        &options.namespace,
        lease,
        &replica,
    ))
}

fn discovery(
    client: &Client,
    options: &Options,
    metrics: &Registry,
    leadership: Leadership,
) -> anyhow::Result<mesh_pilot::Options> {
    let mesh_config = MeshConfigMap {
        namespace: options.namespace.clone(),
        name: options.named("istio"),
    };
    let settings = Settings {
        mesh_config: mesh_config.clone(),
        revision: options.kubernetes.revision.clone(),
    };
    let source = KubernetesSource::new(client.clone(), settings, metrics);
    let status = StatusWriter::new(client.clone(), source.observed(), leadership);
    Ok(mesh_pilot::Options {
        sources: vec![Box::new(source)],
        status: Some(status),
        secret_readers: Some(SecretReaders::new(client.clone())),
        mesh_config,
        trust_domain: options.trust_domain.parse().context("--trust-domain")?,
        metrics: metrics.clone(),
        ..mesh_pilot::Options::default()
    })
}

/// Tells the webhooks' configurations which roots the API server has to trust.
async fn follow_roots(mut authority: Live, bundle: watch::Sender<String>) {
    loop {
        authority.changed().await;
        bundle.send_replace(authority.current().root_pem().to_owned());
    }
}
