//! `meshctl install`: the mesh on a Kubernetes cluster.
//!
//! What is wanted comes from charts ([`manifest`]), is compared with the cluster ([`plan`]) and
//! applied component by component ([`apply`]), each ready before the next ([`wait`]). Nothing is
//! written for objects that are as wanted, so the command can be repeated at will: it changes
//! nothing, or goes on where it was interrupted.

mod apply;
mod diff;
pub(crate) mod elsewhere;
pub(crate) mod manifest;
mod plan;
pub(crate) mod progress;
mod ready;
pub(crate) mod record;
mod set;
mod skew;
pub(crate) mod values;
pub(crate) mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use owo_colors::OwoColorize;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterArgs, MeshNamespace, because};
use crate::confirm::Confirm;
use crate::envoy::items;
use crate::{output, precheck};
use apply::Readiness;
use manifest::{Place, VERSION};
use plan::{Foreign, Plan};
use values::{ValueArgs, Values};

/// Options of `install`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshctl install -y                                  the default profile
  meshctl install --set profile=demo                  two gateways, small requests, access logs
  meshctl install -f values.yaml --set global.hub=registry.example.com/mesh
  meshctl install --revision canary                   a second control plane beside the first
  meshctl install --dry-run                           only show what would change

The same command again changes nothing, or completes what was interrupted.")]
pub(crate) struct Install {
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    rollout: RolloutArgs,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    namespace: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How charts get into a cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolloutArgs {
    /// Only show what would be created, changed and deleted.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait until everything is ready, such as 90s or 5m; 0 doesn't wait.
    #[arg(long, visible_alias = "wait-timeout", value_name = "DURATION", default_value = "5m",
        value_parser = duration)]
    readiness_timeout: Duration,
    /// Change and own objects that something else installed: an Istio's, a Helm release's, another
    /// revision's.
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    pub(crate) charts: ChartArgs,
}

/// Which charts are meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChartArgs {
    /// Directory with charts to use in place of the built-in ones: base, meshd and gateway.
    #[arg(short = 'd', long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) manifests: Option<PathBuf>,
}

/// Installs, or brings an installation to the values given.
pub(crate) async fn run(options: &Install) -> anyhow::Result<ExitCode> {
    let values = options.values.load()?;
    let mut cluster = options.cluster.connect().await?;
    let place = place(
        &cluster,
        &values,
        &options.namespace,
        &options.rollout.charts,
    )
    .await?;
    let title = format!(
        "Install revision {} in namespace {}",
        place.revision, place.namespace
    );
    rollout(
        &mut cluster,
        &values,
        &place,
        &options.rollout,
        &options.confirm,
        &title,
    )
    .await
}

/// Where `values` want the mesh.
pub(crate) async fn place(
    cluster: &Cluster,
    values: &Values,
    namespace: &MeshNamespace,
    charts: &ChartArgs,
) -> anyhow::Result<Place> {
    let version = Box::pin(cluster.client().apiserver_version()).await;
    let version = version
        .map_err(|error| because(&error))
        .context("ask the cluster's version")?;
    let mut place = Place {
        namespace: namespace.istio_namespace.clone(),
        revision: values.revision()?,
        charts: charts.manifests.clone(),
        kube_version: Some(version.git_version),
        armed: false,
    };
    // Without the right to look, the permissions are what has to be told, by the checks to come.
    if let Ok(Some(validator)) = cluster.get(&place.validator_id()).await {
        let mut hooks = items(&validator["webhooks"]).iter();
        place.armed = hooks.all(|hook| hook["failurePolicy"] == "Fail");
    }
    Ok(place)
}

/// Plans, asks, applies and waits: what `install` and `upgrade` have in common.
pub(crate) async fn rollout(
    cluster: &mut Cluster,
    values: &Values,
    place: &Place,
    options: &RolloutArgs,
    confirm: &Confirm,
    title: &str,
) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let mut components = manifest::components(values, place)?;
    precheck::before_install(cluster, &components, place).await?;
    let owned = record::owned(cluster).await?;
    if let Some(conflict) = elsewhere::conflict(&owned, &components, place)? {
        bail!("{conflict}");
    }
    if let Some(installed) = record::read(cluster, place).await? {
        skew::check(&installed.version, VERSION)?;
    }
    let foreign = match options.take_over {
        true => Foreign::TakeOver,
        false => Foreign::Refuse,
    };
    let left = match foreign {
        Foreign::Refuse => plan::leave_others(cluster, &mut components, place).await?,
        Foreign::TakeOver => Vec::new(),
    };
    components.insert(0, manifest::foundation(values, place, &components)?);
    let plan = Plan::make(cluster, components, owned, place, foreign).await?;
    if options.dry_run {
        plan.print()?;
        print_left(&left)?;
        output::line(&plan.summary())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !plan.is_empty() {
        if !confirm.is_given() && plan.changes_something_there() {
            plan.print()?;
        }
        if !confirm.ask(&format!("{title} ({})", plan.summary()))? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let readiness = match options.readiness_timeout {
        Duration::ZERO => Readiness::Ignore,
        timeout => Readiness::Until(Instant::now() + timeout),
    };
    apply::execute(cluster, &plan, readiness).await?;
    print_left(&left)?;
    conclude(&plan, place, readiness, begun.elapsed())?;
    Ok(ExitCode::SUCCESS)
}

fn print_left(left: &[(String, String)]) -> anyhow::Result<()> {
    left.iter().try_for_each(|(component, revision)| {
        output::line(&format!(
            "{} {component} stays with revision {revision} (--take-over makes it this revision's)",
            "note:".dimmed()
        ))
    })
}

fn conclude(
    plan: &Plan,
    place: &Place,
    readiness: Readiness,
    took: Duration,
) -> anyhow::Result<()> {
    let what = format!(
        "Revision {} {VERSION} in namespace {}",
        place.revision, place.namespace
    );
    let state = match (plan.is_empty(), readiness) {
        (true, Readiness::Until(_)) => "is as wanted and ready: nothing was changed".to_owned(),
        (true, Readiness::Ignore) => "is as wanted: nothing was changed".to_owned(),
        (false, Readiness::Until(_)) => format!("is ready after {}", progress::seconds(took)),
        (false, Readiness::Ignore) => "is applied (see `meshctl verify-install`)".to_owned(),
    };
    output::line(&format!("{what} {state}."))?;
    if !plan.begins_injection() {
        return Ok(());
    }
    let label = match place.revision.as_str() {
        "default" => "istio-injection=enabled".to_owned(),
        revision => format!("istio.io/rev={revision}"),
    };
    output::line(&format!(
        "\nGive the pods of a namespace their sidecars:\n  {}\n  {}",
        format!("kubectl label namespace default {label}").bold(),
        "kubectl rollout restart deployment -n default".bold(),
    ))
}

/// `90s`, `5m`, `1h30m`, or whole seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; write for example 90s or 5m"))?;
    Duration::try_from(span).map_err(|_| "it is negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-5s").is_err());
        assert!(duration("soon").is_err());
    }
}
