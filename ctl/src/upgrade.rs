//! `meshctl upgrade`: an installation to this program's version, in place.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cluster::{ClusterArgs, MeshNamespace};
use crate::confirm::Confirm;
use crate::install::manifest::VERSION;
use crate::install::values::ValueArgs;
use crate::install::{self, RolloutArgs, record};

/// Options of `upgrade`.
#[derive(Args)]
#[command(after_help = "\
Values given here are laid over those of the installation; --reset-values starts anew.
Sidecars keep running as they are; they become new with their pods:
  kubectl rollout restart deployment -n NAMESPACE")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    values: ValueArgs,
    /// Forget the values that it was installed with, and use only those given here.
    #[arg(long)]
    reset_values: bool,
    #[command(flatten)]
    rollout: RolloutArgs,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    namespace: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Upgrades in place: the same values unless others are given.
pub(crate) async fn run(options: &Upgrade) -> anyhow::Result<ExitCode> {
    let given = options.values.load()?;
    let mut cluster = options.cluster.connect().await?;
    let charts = &options.rollout.charts;
    let place = install::place(&cluster, &given, &options.namespace, charts).await?;
    let installed = record::read(&cluster, &place).await?.with_context(|| {
        format!(
            "no revision {} is installed in namespace {} by meshctl, so there is nothing to upgrade \
             (`meshctl install` installs one; `meshctl version` shows what runs)",
            place.revision, place.namespace
        )
    })?;
    let values = match options.reset_values {
        true => given,
        false => given.over(installed.values),
    };
    let title = format!(
        "Upgrade revision {} in namespace {} from {} to {VERSION}",
        place.revision, place.namespace, installed.version
    );
    install::rollout(
        &mut cluster,
        &values,
        &place,
        &options.rollout,
        &options.confirm,
        &title,
    )
    .await
}
