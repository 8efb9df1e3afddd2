//! `meshctl uninstall`: one revision, or everything as if it had never been there.

mod remains;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use kube::api::ListParams;
use owo_colors::OwoColorize;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterArgs, ObjectId};
use crate::confirm::Confirm;
use crate::envoy::text;
use crate::install::progress::Step;
use crate::install::record::{self, Owned};
use crate::output;

/// How often it is looked whether something has gone.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Pods have 30 s to end by default, and a namespace ends after them.
const LONGEST_END: Duration = Duration::from_secs(90);

/// Options of `uninstall`.
#[derive(Args)]
#[command(after_help = "\
--revision leaves other revisions, the custom resource definitions and the certificate authority.
--purge leaves nothing: no definitions (and none of the custom resources made of them), no webhooks,
no roles, no certificate authority. Only what you made yourself stays: certificates plugged in as
Secret cacerts, and a namespace with objects of yours.
Pods keep their sidecars until they are restarted, and go on serving.")]
#[group(id = "what", required = true)]
pub(crate) struct Uninstall {
    /// Remove this revision alone, in the namespace that -i names.
    #[arg(short, long, value_name = "NAME", group = "what")]
    revision: Option<String>,
    /// Remove all revisions, and everything that they share.
    #[arg(long, group = "what")]
    purge: bool,
    /// Namespace of the control plane; --purge is for all.
    #[arg(
        short = 'i',
        long = "istio-namespace",
        value_name = "NAMESPACE",
        default_value = "istio-system",
        conflicts_with = "purge"
    )]
    istio_namespace: String,
    /// Only show what would be deleted.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Removes what was installed.
pub(crate) async fn run(options: &Uninstall) -> anyhow::Result<ExitCode> {
    let cluster = options.cluster.connect().await?;
    let owned = record::owned(&cluster).await?;
    match &options.revision {
        Some(revision) => one_revision(&cluster, owned, revision, options).await,
        None => purge(&cluster, owned, options).await,
    }
}

async fn one_revision(
    cluster: &Cluster,
    owned: Vec<Owned>,
    revision: &str,
    options: &Uninstall,
) -> anyhow::Result<ExitCode> {
    let namespace = options.istio_namespace.as_str();
    if !owned.iter().any(record::is_of(&owned, revision, namespace)) {
        bail!("{}", not_there(&owned, revision, namespace));
    }
    let is_mine = record::is_of(&owned, revision, namespace);
    let (mine, rest): (Vec<Owned>, Vec<Owned>) = owned.into_iter().partition(is_mine);
    if options.dry_run {
        return show(&mine);
    }
    let what = format!("Delete revision {revision} ({} objects)", mine.len());
    if !options.confirm.ask(&what)? {
        return Ok(ExitCode::FAILURE);
    }
    delete(cluster, &mine, &format!("Revision {revision}")).await?;
    output::line(&format!("Revision {revision} is gone."))?;
    if record::revisions(&rest).is_empty() && !rest.is_empty() {
        output::line(&format!(
            "{} it was the last one; what revisions share is still there, such as the custom resource definitions \
             (meshctl uninstall --purge removes it)",
            "note:".dimmed()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that `revision` is not in `namespace`, and what is installed.
fn not_there(owned: &[Owned], revision: &str, namespace: &str) -> String {
    if let Some(other) = record::homes(owned, revision).first() {
        return format!("revision {revision} is installed in {other}: use -i {other}");
    }
    let there: Vec<String> = record::revisions(owned).into_iter().collect();
    match there.is_empty() {
        true => format!("no revision {revision} is installed, nor any other by meshctl"),
        false => format!(
            "no revision {revision} is installed in {namespace}; there are: {}",
            there.join(", ")
        ),
    }
}

async fn purge(
    cluster: &Cluster,
    owned: Vec<Owned>,
    options: &Uninstall,
) -> anyhow::Result<ExitCode> {
    let mut namespaces = namespaces(&owned);
    namespaces.extend(remains::namespaces(cluster).await?);
    let made = remains::of_control_plane(cluster, &namespaces).await?;
    if owned.is_empty() && made.is_empty() {
        bail!(
            "meshctl has installed nothing in this cluster (what Helm installed, Helm removes: helm list -A)"
        );
    }
    if options.dry_run {
        show(&owned)?;
        made.iter()
            .try_for_each(|id| output::line(&format!("{} {id}", "delete".red())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let lost = lost_resources(cluster, &owned).await?;
    if !lost.is_empty() {
        output::line(&format!(
            "{} with their definitions go all custom resources: {}",
            "warning:".yellow().bold(),
            lost.join(", ")
        ))?;
    }
    let what = format!(
        "Delete everything of the mesh ({} objects)",
        owned.len() + made.len()
    );
    if !options.confirm.ask(&what)? {
        return Ok(ExitCode::FAILURE);
    }
    let (last, first): (Vec<Owned>, Vec<Owned>) = owned.into_iter().partition(|one| {
        matches!(
            one.id.kind.as_str(),
            "Namespace" | "CustomResourceDefinition"
        )
    });
    let (created, definitions): (Vec<Owned>, Vec<Owned>) =
        last.into_iter().partition(|one| one.id.kind == "Namespace");
    delete(cluster, &first, "Control plane and gateways").await?;
    // Only now: the control plane would make them again.
    let made = remains::of_control_plane(cluster, &namespaces).await?;
    let step = Step::begin("Certificates, leases");
    for id in &made {
        cluster.delete(id).await?;
    }
    step.done(&format!("{} deleted", made.len()));
    delete(cluster, &definitions, "Custom resources").await?;
    for namespace in &created {
        remove_namespace(cluster, &namespace.id).await?;
    }
    let created: Vec<&str> = created.iter().map(|one| one.id.name.as_str()).collect();
    for namespace in namespaces
        .iter()
        .filter(|one| !created.contains(&one.as_str()))
    {
        kept(namespace, &remains::of_others(cluster, namespace).await?)?;
    }
    output::line("The mesh is gone. Pods keep their sidecars until they are restarted.")?;
    Ok(ExitCode::SUCCESS)
}

/// Deletes in an order that disturbs nobody, and waits until all is gone.
async fn delete(cluster: &Cluster, objects: &[Owned], title: &str) -> anyhow::Result<()> {
    if objects.is_empty() {
        return Ok(());
    }
    let mut step = Step::begin(title);
    let mut ids: Vec<ObjectId> = objects.iter().map(|one| one.id.clone()).collect();
    record::sort_for_removal(&mut ids);
    for id in &ids {
        cluster
            .delete(id)
            .await
            .context("the same command goes on from here")?;
    }
    let left = until_gone(cluster, &ids, |id| {
        step.note(&format!("waits for the end of {id}"))
    })
    .await?;
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(ObjectId::to_string).collect();
        bail!(
            "still there after {} s: {} (a finalizer may hold it: kubectl get -o yaml; the same command goes on from here)",
            LONGEST_END.as_secs(),
            left.join(", ")
        );
    }
    step.done(&format!("{} objects deleted", ids.len()));
    Ok(())
}

/// Waits until none of `ids` is left, nor a pod of the Deployments among them. Returns what is left.
async fn until_gone(
    cluster: &Cluster,
    ids: &[ObjectId],
    mut note: impl FnMut(&ObjectId),
) -> anyhow::Result<Vec<ObjectId>> {
    let deadline = Instant::now() + LONGEST_END;
    loop {
        let there = cluster.get_all(ids).await?;
        let there = ids.iter().zip(there).filter(|(_, object)| object.is_some());
        let mut left: Vec<ObjectId> = there.map(|(id, _)| id.clone()).collect();
        left.extend(pods_of(cluster, ids).await?);
        match left.first() {
            Some(id) if Instant::now() < deadline => note(id),
            _ => return Ok(left),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Pods that the Deployments among `ids` left behind, recognised by `app`, which is every one's name.
async fn pods_of(cluster: &Cluster, ids: &[ObjectId]) -> anyhow::Result<Vec<ObjectId>> {
    let mut pods = Vec::new();
    for id in ids.iter().filter(|id| id.kind == "Deployment") {
        let all = ListParams::default();
        let found = cluster
            .list_kind(("v1", "Pod"), id.namespace.as_deref(), &all)
            .await?;
        let prefix = format!("{}-", id.name);
        let mine = found.iter().filter(|pod| {
            let owners = &pod["metadata"]["ownerReferences"];
            owners[0]["kind"] == "ReplicaSet" && is_of(text(&owners[0], "name"), &prefix)
        });
        pods.extend(mine.map(ObjectId::of).collect::<anyhow::Result<Vec<_>>>()?);
    }
    Ok(pods)
}

/// Whether a ReplicaSet's name is `prefix` with nothing but the hash of a template behind it.
fn is_of(replica_set: &str, prefix: &str) -> bool {
    let hash = replica_set.strip_prefix(prefix);
    hash.is_some_and(|hash| hash.chars().all(|c| c.is_ascii_alphanumeric()))
}

async fn remove_namespace(cluster: &Cluster, id: &ObjectId) -> anyhow::Result<()> {
    let others = remains::of_others(cluster, &id.name).await?;
    if !others.is_empty() {
        return kept(&id.name, &others);
    }
    let mut step = Step::begin(&format!("Namespace {}", id.name));
    cluster.delete(id).await?;
    let ids = [id.clone()];
    let left = until_gone(cluster, &ids, |_| step.note("waits for its end")).await?;
    step.done(if left.is_empty() {
        "deleted"
    } else {
        "is still ending (kubectl get namespace)"
    });
    Ok(())
}

fn kept(namespace: &str, others: &[ObjectId]) -> anyhow::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = others
        .iter()
        .map(|id| format!("{} {}", id.kind, id.name))
        .collect();
    let why = match others
        .iter()
        .any(|id| id.kind == "Secret" && id.name == "cacerts")
    {
        true => " (cacerts is the certificate authority that you plugged in)",
        false => "",
    };
    output::line(&format!(
        "{} namespace {namespace} stays, as it has objects that meshctl did not make: {}{why}",
        "note:".dimmed(),
        named.join(", ")
    ))
}

/// `3 VirtualService, 1 Gateway`: what users made of the definitions that go.
async fn lost_resources(cluster: &Cluster, owned: &[Owned]) -> anyhow::Result<Vec<String>> {
    let definitions = owned
        .iter()
        .filter(|one| one.id.kind == "CustomResourceDefinition");
    let names: BTreeSet<&str> = definitions.map(|one| one.id.name.as_str()).collect();
    let kinds = cluster.deletable_kinds().map(|(resource, _)| resource);
    let kinds: Vec<_> = kinds
        .filter(|one| names.contains(format!("{}.{}", one.plural, one.group).as_str()))
        .collect();
    let mut lost = Vec::new();
    for kind in kinds {
        let count = cluster
            .list(&kind, None, &ListParams::default())
            .await?
            .len();
        if count > 0 {
            lost.push(format!("{count} {}", kind.kind));
        }
    }
    Ok(lost)
}

/// The namespaces that something was installed in.
fn namespaces(owned: &[Owned]) -> BTreeSet<String> {
    let inside = owned.iter().filter_map(|one| one.id.namespace.clone());
    let made = owned.iter().filter(|one| one.id.kind == "Namespace");
    inside.chain(made.map(|one| one.id.name.clone())).collect()
}

fn show(owned: &[Owned]) -> anyhow::Result<ExitCode> {
    let mut ids: Vec<ObjectId> = owned.iter().map(|one| one.id.clone()).collect();
    record::sort_for_removal(&mut ids);
    ids.iter()
        .try_for_each(|id| output::line(&format!("{} {id}", "delete".red())))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revisions_pods_are_not_another_ones() {
        assert!(is_of("istiod-5d9f7c", "istiod-"));
        assert!(!is_of("istiod-canary-5d9f7c", "istiod-"));
        assert!(!is_of("reviews-5d9f7c", "istiod-"));
    }
}
