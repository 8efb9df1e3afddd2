//! `meshctl verify-install`: whether everything that was installed is there and ready.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::json;

use crate::cluster::{ClusterArgs, MeshNamespace};
use crate::install::manifest::Place;
use crate::install::{record, wait};
use crate::output::{self, Format};

/// Options of `verify-install`.
#[derive(Args)]
#[command(after_help = "Exit code: 0 if everything is there and ready, 1 if something is not.")]
pub(crate) struct VerifyInstall {
    /// The revision to look at.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    revision: String,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    namespace: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints a line per object that is missing or not ready.
pub(crate) async fn run(options: &VerifyInstall) -> anyhow::Result<ExitCode> {
    let cluster = options.cluster.connect().await?;
    let place = Place {
        namespace: options.namespace.istio_namespace.clone(),
        revision: options.revision.clone(),
        charts: None,
        kube_version: None,
        armed: false,
    };
    let (name, namespace) = (&place.revision, &place.namespace);
    let installed = record::read(&cluster, &place).await?.with_context(|| {
        format!(
            "meshctl has installed no revision {name} in namespace {namespace} (-i names another \
             namespace, --revision another revision; of what Helm installed, `helm status` tells)"
        )
    })?;
    let unready = wait::look(&cluster, &installed.objects).await?;
    let code = match unready.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if options.output == Format::Json {
        let unready = unready
            .iter()
            .map(|one| json!({"object": one.id.to_string(), "reason": one.reason}));
        output::json(
            &json!({"revision": name, "version": installed.version, "unready": unready.collect::<Vec<_>>()}),
        )?;
        return Ok(code);
    }
    for one in &unready {
        output::line(&format!("{} {}", "\u{2718}".red(), one.line()))?;
    }
    let all = installed.objects.len();
    let of = format!(
        "revision {name} {} in namespace {namespace}",
        installed.version
    );
    output::line(&match unready.len() {
        0 => format!(
            "{} all {all} objects of {of} are there and ready",
            "\u{2714}".green()
        ),
        some => format!("{some} of {all} objects of {of} are missing or not ready"),
    })?;
    Ok(code)
}
