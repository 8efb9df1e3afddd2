//! Carrying out a plan: component by component, each ready before the next begins.

use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::time::Instant;

use super::plan::{Action, Plan, PlannedComponent, Step};
use super::progress;
use super::wait;
use crate::cluster::{Apply, Cluster, ObjectId};

/// The API server serves a new definition within a second or two, without anybody's help.
const LONGEST_DEFINITION: Duration = Duration::from_secs(30);

/// Whether to wait for pods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    /// Until then.
    Until(Instant),
    /// Not at all.
    Ignore,
}

/// Does what `plan` says.
///
/// # Errors
/// The first object that the API server refuses; what is not ready in time, with reasons. What has
/// been done stays, and the same command goes on from there.
pub(crate) async fn execute(
    cluster: &mut Cluster,
    plan: &Plan,
    readiness: Readiness,
) -> anyhow::Result<()> {
    for component in &plan.components {
        if !component.steps.is_empty() {
            let done = apply_component(cluster, component, readiness).await;
            done.map_err(|error| anyhow!("{error:#}\nThe same command goes on from here."))?;
        }
    }
    if !plan.prune.is_empty() {
        let step = progress::Step::begin("What is not wanted any more");
        for id in &plan.prune {
            cluster.delete(id).await?;
        }
        step.done(&format!("{} objects deleted", plan.prune.len()));
    }
    Ok(())
}

/// Definitions first, webhooks last: a webhook that nobody serves would block what comes behind it.
async fn apply_component(
    cluster: &mut Cluster,
    component: &PlannedComponent,
    readiness: Readiness,
) -> anyhow::Result<()> {
    let mut shown = progress::Step::begin(&component.title);
    let rank = |step: &Step| match step.id.kind.as_str() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 3,
        _ => 2,
    };
    for phase in 0..=3 {
        let steps: Vec<&Step> = component
            .steps
            .iter()
            .filter(|step| rank(step) == phase)
            .collect();
        if steps.is_empty() {
            continue;
        }
        let due = steps.iter().filter(|step| step.action != Action::Keep);
        cluster
            .apply_all(due.map(|step| &step.object), Apply::Store)
            .await?;
        let until = match (phase, readiness) {
            (1, _) => Some(Instant::now() + LONGEST_DEFINITION),
            (_, Readiness::Until(deadline)) => Some(deadline),
            (_, Readiness::Ignore) => None,
        };
        if let Some(deadline) = until {
            let ids: Vec<ObjectId> = steps.iter().map(|step| step.id.clone()).collect();
            ready(cluster, &ids, deadline, &mut shown).await?;
        }
        if phase == 1 {
            cluster.rediscover().await?;
        }
    }
    shown.done(&summary(component));
    Ok(())
}

async fn ready(
    cluster: &Cluster,
    ids: &[ObjectId],
    deadline: Instant,
    shown: &mut progress::Step,
) -> anyhow::Result<()> {
    let left = wait::until_ready(cluster, ids, deadline, |note| shown.note(note)).await?;
    if left.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = left.iter().map(|one| format!("  {}", one.line())).collect();
    bail!(
        "not ready in time (--readiness-timeout gives more):\n{}",
        lines.join("\n")
    )
}

fn summary(component: &PlannedComponent) -> String {
    let count = |wanted: fn(&Action) -> bool| {
        component
            .steps
            .iter()
            .filter(|step| wanted(&step.action))
            .count()
    };
    let created = count(|action| *action == Action::Create);
    let changed = count(|action| matches!(action, Action::Change(_)));
    match (created, changed) {
        (0, 0) => "unchanged".to_owned(),
        (created, 0) => format!("{created} created"),
        (0, changed) => format!("{changed} changed"),
        (created, changed) => format!("{created} created, {changed} changed"),
    }
}
