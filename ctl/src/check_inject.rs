//! `meshctl check-inject`: why a pod has a proxy or not.
//!
//! The webhook configurations of the cluster decide, by the labels of namespace and pod; then what
//! the pod itself says. Both are read as they are now, so the answer is about the next pod; of a
//! running pod it also tells what it is.
//!
//! - `check_inject/hooks.rs`: the webhooks that inject, and how their selectors match
//! - `check_inject/verdict.rs`: what follows, and what to change
//! - `check_inject/subject.rs`: the pod in question

mod hooks;
mod subject;
mod verdict;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use owo_colors::OwoColorize;
use serde_json::json;

use crate::cluster::{ClusterArgs, because};
use crate::inject::MeshSettings;
use crate::output::{self, Format};
use hooks::{Hook, Service};
use subject::{Subject, Target};
use verdict::{Verdict, judge};

/// Options of `check-inject`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshctl check-inject web-5d8f9c7b6-x2x4z -n shop
  meshctl check-inject deploy/web -n shop             before there are pods
  meshctl check-inject -l app=web -n shop
  meshctl check-inject -n shop                        a pod without any labels

The exit code is 0 if the pod has a proxy; where none runs yet, if new ones get it.")]
pub(crate) struct CheckInject {
    /// Pod, or KIND/NAME of what makes pods (deploy, sts, ds, rs, job, cronjob); `.NAMESPACE` may
    /// follow the name.
    #[arg(value_name = "POD|KIND/NAME")]
    target: Option<String>,
    /// Pods with these labels.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "target")]
    selector: Option<String>,
    /// Namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints each webhook with whether it matches and why, then what that means.
pub(crate) async fn run(options: &CheckInject) -> anyhow::Result<ExitCode> {
    let client = options.cluster.client().await?;
    let (target, namespace) = options.target.as_deref().map_or((None, None), |target| {
        let (target, namespace) = without_namespace(target);
        (Some(target), namespace)
    });
    let namespace = namespace.or(options.namespace.as_deref());
    let namespace = namespace.unwrap_or(client.default_namespace());
    let target = Target::parse(target.as_deref(), options.selector.as_deref())?;
    let subject = Box::pin(Subject::find(&client, namespace, &target)).await?;
    let hooks = hooks_of(&client).await?;
    let settings = settings(&client, &hooks, &subject).await;
    let verdict = judge(&hooks, &subject, settings.as_ref());
    let mut doubts = mesh_injector::warnings(&subject.pod);
    for service in verdict.services(&hooks) {
        doubts.extend(unreachable(&client, service).await);
    }
    match options.output {
        Format::Table => print(&subject, &hooks, &verdict, &doubts)?,
        Format::Json => output::json(&json!({
            "pod": subject.name,
            "namespace": subject.namespace.name,
            "hasProxy": subject.has_proxy,
            "injected": verdict.is_injected(),
            "reason": verdict.reason,
            "remedy": verdict.remedy,
            "warnings": doubts,
            "webhooks": hooks.iter().map(|hook| hook.to_json(&subject)).collect::<Vec<_>>(),
        }))?,
    }
    let good = subject.has_proxy.unwrap_or(verdict.is_injected());
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// `[KIND/]NAME` and NAMESPACE of `[KIND/]NAME[.NAMESPACE]`, as istioctl takes it.
fn without_namespace(target: &str) -> (String, Option<&str>) {
    let name = target.find('/').map_or(0, |slash| slash + 1);
    match target[name..].split_once('.') {
        Some((short, namespace)) => (format!("{}{short}", &target[..name]), Some(namespace)),
        None => (target.to_owned(), None),
    }
}

async fn hooks_of(client: &Client) -> anyhow::Result<Vec<Hook>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = api.list(&ListParams::default()).await;
    let found = found
        .map_err(|error| because(&error))
        .context("list the MutatingWebhookConfigurations")?;
    Ok(found.items.iter().flat_map(Hook::of).collect())
}

/// The settings of the control plane that would inject, for what it decides itself. Without the
/// right to read them, its defaults.
async fn settings(client: &Client, hooks: &[Hook], subject: &Subject) -> Option<MeshSettings> {
    let hook = hooks.iter().find(|hook| hook.decide(subject).is_ok())?;
    let service = hook.service.as_ref()?;
    let read = MeshSettings::of_cluster(client, &service.namespace, &hook.revision);
    Box::pin(read).await.ok()
}

/// Why the API server can't call the webhook, if it can't.
async fn unreachable(client: &Client, service: &Service) -> Option<String> {
    let Service { namespace, name } = service;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let label = format!("kubernetes.io/service-name={name}");
    let slices = slices.list(&ListParams::default().labels(&label)).await;
    let ready = slices.ok()?.items.iter().any(|slice| {
        let conditions = slice
            .endpoints
            .iter()
            .map(|endpoint| endpoint.conditions.as_ref());
        let mut ready = conditions.map(|conditions| conditions.and_then(|c| c.ready));
        // Unknown counts as ready, says Kubernetes.
        ready.any(|ready| ready.unwrap_or(true))
    });
    (!ready).then(|| {
        format!(
            "service {name} in namespace {namespace} has no ready endpoint: until its control \
             plane runs, pods that it should inject cannot be created"
        )
    })
}

fn print(
    subject: &Subject,
    hooks: &[Hook],
    verdict: &Verdict,
    doubts: &[String],
) -> anyhow::Result<()> {
    if !hooks.is_empty() {
        let row = |hook: &Hook| {
            let (matches, why) = match hook.decide(subject) {
                Ok(why) => ("yes", why),
                Err(why) => ("no", why),
            };
            [
                hook.short_name(),
                hook.revision.clone(),
                matches.to_owned(),
                why,
            ]
        };
        let rows = hooks.iter().map(row).collect();
        output::table(["WEBHOOK", "REVISION", "MATCHES", "WHY"], rows)?;
        output::line("")?;
    }
    let Subject {
        name, namespace, ..
    } = subject;
    let place = format!("{name} in namespace {}", namespace.name);
    match (subject.has_proxy, verdict.is_injected()) {
        (Some(true), true) => output::line(&format!("{place} {}.", "has its proxy".green()))?,
        (Some(true), false) => output::line(&format!(
            "{place} {}, but a new one would not get it.",
            "has its proxy".yellow()
        ))?,
        (Some(false), true) => output::line(&format!(
            "{place} {}, but a new one would get it: restart it.",
            "has no proxy".yellow()
        ))?,
        (None, true) => output::line(&format!("{place}: new pods {}.", "get a proxy".green()))?,
        (Some(false), false) => output::line(&format!("{place} {}.", "has no proxy".red()))?,
        (None, false) => output::line(&format!("{place}: new pods {}.", "get no proxy".red()))?,
    }
    output::line(&format!("Why:  {}", verdict.reason))?;
    if let Some(remedy) = &verdict.remedy {
        output::line(&format!("Fix:  {remedy}"))?;
    }
    for doubt in doubts {
        output::line(&format!("Note: {doubt}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
