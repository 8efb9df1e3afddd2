//! `meshctl precheck`: whether a cluster can take an installation.

mod permissions;
mod webhooks;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use kube::api::ListParams;
use kube::client::Body;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterArgs, MeshNamespace, ObjectId, because};
use crate::envoy::text;
use crate::install::manifest::{self, COMPONENT, Component, Place};
use crate::install::values::ValueArgs;
use crate::install::{self, ChartArgs, elsewhere, record};
use crate::output::{self, Format};

/// The oldest minor version of Kubernetes 1 that is supported: the oldest on which changes are tried.
/// The charts state the same.
const OLDEST_MINOR: u32 = 34;
/// Clocks that differ by more make fresh certificates and tokens look expired or not yet valid.
const LARGEST_SKEW: Duration = Duration::from_secs(10);

/// Options of `precheck`.
#[derive(Args)]
#[command(after_help = "\
Takes the options of `meshctl install`, to check for exactly that installation.
Exit code: 0 if nothing stands in the way, 1 otherwise.")]
pub(crate) struct Precheck {
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    charts: ChartArgs,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    namespace: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Warning,
    /// An installation would fail.
    Error,
}

/// Something found out about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    text: String,
}

impl Finding {
    fn new(level: Level, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { level, text }
    }

    fn print(&self) -> anyhow::Result<()> {
        let mark = match self.level {
            Level::Fine => "\u{2714}".green().to_string(),
            Level::Warning => "!".yellow().bold().to_string(),
            Level::Error => "\u{2718}".red().to_string(),
        };
        output::line(&format!("{mark} {}", self.text))
    }

    fn to_json(&self) -> Value {
        let level = format!("{:?}", self.level).to_lowercase();
        json!({"level": level, "message": self.text})
    }
}

/// Prints a line per check.
pub(crate) async fn run(options: &Precheck) -> anyhow::Result<ExitCode> {
    let values = options.values.load()?;
    let cluster = options.cluster.connect().await?;
    let place = install::place(&cluster, &values, &options.namespace, &options.charts).await?;
    let components = manifest::components(&values, &place)?;
    let mut findings = needs(&cluster, &components, &place).await?;
    findings.push(clock(&cluster).await?);
    // What may not be read cannot be checked; that stands in the findings already.
    if !is_bad(&findings) {
        findings.extend(other_istios(&cluster, &place).await?);
        findings.push(other_namespaces(&cluster, &components, &place).await?);
        findings.push(definitions(&cluster, &components).await?);
    }
    let bad = findings.iter().any(|finding| finding.level == Level::Error);
    if options.output == Format::Json {
        output::json(&findings.iter().map(Finding::to_json).collect())?;
    } else {
        findings.iter().try_for_each(Finding::print)?;
        output::line(match bad {
            true => "\nThe mesh cannot be installed before what is marked \u{2718} is corrected.",
            false => "\nNothing stands in the way: meshctl install",
        })?;
    }
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn is_bad(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Error)
}

/// The checks that `install` makes by itself.
///
/// # Errors
/// Everything that would make it fail, a line each.
pub(crate) async fn before_install(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<()> {
    let findings = needs(cluster, components, place).await?;
    let bad = findings
        .iter()
        .filter(|finding| finding.level == Level::Error);
    let bad: Vec<String> = bad.map(|finding| format!("  {}", finding.text)).collect();
    if !bad.is_empty() {
        bail!("the cluster cannot take the mesh:\n{}", bad.join("\n"));
    }
    Ok(())
}

async fn needs(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![version(place.kube_version.as_deref().unwrap_or_default())];
    let permissions = permissions::check(cluster, components, place).await?;
    let may_look = permissions.level != Level::Error;
    findings.push(permissions);
    if may_look {
        findings.push(webhooks::check(cluster).await?);
    }
    Ok(findings)
}

/// `found`: as in `v1.35.2` or `v1.34.1-eks-1234`.
fn version(found: &str) -> Finding {
    let mut numbers = found
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    match (major, minor) {
        (Some(Ok(1)), Some(Ok(minor))) if minor < OLDEST_MINOR => Finding::new(
            Level::Error,
            format!(
                "Kubernetes {found} is too old: 1.{OLDEST_MINOR} is the oldest that works (upgrade the cluster)"
            ),
        ),
        (Some(Ok(_)), Some(Ok(_))) => Finding::new(Level::Fine, format!("Kubernetes {found}")),
        _ => Finding::new(
            Level::Warning,
            format!(
                "Kubernetes tells version {found:?}, which cannot be read; 1.{OLDEST_MINOR} is the oldest that works"
            ),
        ),
    }
}

/// Compares the API server's clock with this machine's, to the second that HTTP tells.
async fn clock(cluster: &Cluster) -> anyhow::Result<Finding> {
    let request = http::Request::get("/version").body(Body::empty())?;
    let response = Box::pin(cluster.client().send(request)).await;
    let response = response
        .map_err(|error| because(&error))
        .context("ask the cluster's time")?;
    let date = response.headers().get(http::header::DATE);
    let told = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(match told {
        Some(told) => skew(told, SystemTime::now()),
        None => Finding::new(
            Level::Warning,
            "the API server does not tell its time: clocks cannot be compared",
        ),
    })
}

fn skew(told: SystemTime, now: SystemTime) -> Finding {
    let ahead = told.duration_since(now);
    let apart = ahead
        .as_ref()
        .copied()
        .unwrap_or_else(|behind| behind.duration());
    if apart <= LARGEST_SKEW {
        return Finding::new(
            Level::Fine,
            "the cluster's clock agrees with this machine's",
        );
    }
    let direction = if ahead.is_ok() { "ahead of" } else { "behind" };
    Finding::new(
        Level::Warning,
        format!(
            "the cluster's clock is {} s {direction} this machine's: certificates and tokens need clocks that agree \
             (synchronise the nodes by NTP)",
            apart.as_secs()
        ),
    )
}

/// Control planes of another origin.
async fn other_istios(cluster: &Cluster, place: &Place) -> anyhow::Result<Vec<Finding>> {
    let istiods = ListParams::default().labels("app=istiod");
    let found = cluster
        .list_kind(("apps/v1", "Deployment"), None, &istiods)
        .await?;
    let foreign = found
        .iter()
        .filter(|one| one["metadata"]["labels"][COMPONENT].is_null());
    let findings = foreign.map(|one| {
        let id = ObjectId::of(one)?;
        let revision = match text(&one["metadata"]["labels"], "istio.io/rev") {
            "" => "default",
            revision => revision,
        };
        let (level, way) = match revision == place.revision {
            true => (Level::Error, "both would inject the same pods: install with another --revision, or remove that one first"),
            false => (Level::Warning, "namespaces choose between both by the label istio.io/rev"),
        };
        Ok(Finding::new(level, format!("an Istio of another origin runs: {id}, revision {revision} ({way})")))
    });
    let findings: Vec<Finding> = findings.collect::<anyhow::Result<_>>()?;
    Ok(match findings.is_empty() {
        true => vec![Finding::new(Level::Fine, "no Istio of another origin runs")],
        false => findings,
    })
}

/// Meshes of this program in other namespaces.
async fn other_namespaces(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Finding> {
    let owned = record::owned(cluster).await?;
    Ok(match elsewhere::conflict(&owned, components, place)? {
        Some(conflict) => Finding::new(Level::Error, conflict),
        None => Finding::new(
            Level::Fine,
            format!("no other namespace has revision {}", place.revision),
        ),
    })
}

/// The definitions that are there already.
async fn definitions(cluster: &Cluster, components: &[Component]) -> anyhow::Result<Finding> {
    let objects = components.iter().flat_map(|component| &component.objects);
    let wanted: Vec<&Value> = objects
        .filter(|one| one["kind"] == "CustomResourceDefinition")
        .collect();
    let ids = wanted.iter().map(|one| ObjectId::of(one));
    let ids: Vec<ObjectId> = ids.collect::<anyhow::Result<_>>()?;
    let live = cluster.get_all(&ids).await?;
    let there: Vec<&Value> = live.iter().flatten().collect();
    let foreign = there
        .iter()
        .filter(|one| one["metadata"]["labels"][COMPONENT].is_null());
    let foreign: Vec<&str> = foreign.map(|one| text(&one["metadata"], "name")).collect();
    Ok(match (there.len(), foreign.len()) {
        (0, _) if wanted.is_empty() => {
            Finding::new(Level::Fine, "no custom resource definitions are wanted")
        }
        (0, _) => Finding::new(Level::Fine, "no custom resource definition is in the way"),
        (some, 0) => Finding::new(
            Level::Fine,
            format!("{some} custom resource definitions of meshctl are there already"),
        ),
        (_, some) => Finding::new(
            Level::Error,
            format!(
                "{some} custom resource definitions are there that meshctl did not install: {} (install with --take-over to \
                 own them from now on, or with --set base.enabled=false to use them as they are)",
                foreign.join(", ")
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clusters_are_refused_and_strange_versions_are_not() {
        assert_eq!(version("v1.33.9").level, Level::Error);
        assert_eq!(version("v1.34.0").level, Level::Fine);
        assert_eq!(version("v1.34.1-eks-1234").level, Level::Fine);
        assert_eq!(version("v1.36+").level, Level::Fine);
        assert_eq!(version("devel").level, Level::Warning);
    }

    #[test]
    fn clocks_that_differ_are_told_in_seconds_and_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let seconds = Duration::from_secs;
        assert_eq!(skew(now + seconds(9), now).level, Level::Fine);
        assert!(skew(now + seconds(60), now).text.contains("60 s ahead of"));
        assert!(skew(now - seconds(60), now).text.contains("60 s behind"));
    }
}
