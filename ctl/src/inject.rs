//! `meshctl inject`: manifests with the proxy in their pods, as the webhook would put it there.
//!
//! For those who don't want a webhook, or want to see what it does. What is no workload passes
//! unchanged, to the byte.

mod documents;
mod settings;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cluster::{ClusterArgs, MeshNamespace};
use crate::input::read;
use crate::output;
use documents::Injection;
pub(crate) use settings::MeshSettings;

/// Options of `inject`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshctl inject -f app.yaml | kubectl apply -f -     with the settings of the cluster's mesh
  meshctl inject -f app.yaml --offline                with those of a default installation
  meshctl inject -f app.yaml --values values.yaml     with those of `meshctl install -f values.yaml`
  kubectl get deployment web -o yaml | meshctl inject -f -

Labels of namespaces don't count here: whatever has pods is injected, unless it says
sidecar.istio.io/inject=false or uses the host's network.")]
pub(crate) struct Inject {
    /// File of manifests in YAML or JSON; `-` for standard input. May be repeated.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE",
        value_hint = clap::ValueHint::FilePath)]
    filenames: Vec<PathBuf>,
    /// Ask no cluster: use the settings of a default installation.
    #[arg(long)]
    offline: bool,
    /// Ask no cluster: use the settings of an installation with these values. May be repeated.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    values: Vec<PathBuf>,
    /// Use the mesh's settings (MeshConfig) in this file.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    mesh_config: Option<PathBuf>,
    /// Namespace of manifests that name none.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Which control plane injects, if there are several [default: default].
    #[arg(
        short,
        long,
        value_name = "NAME",
        default_value = "default",
        hide_default_value = true
    )]
    revision: String,
    #[command(flatten)]
    mesh: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints the manifests; notes and warnings go to standard error. Nothing is printed if any
/// manifest can't be injected.
pub(crate) async fn run(options: &Inject) -> anyhow::Result<ExitCode> {
    let settings = Box::pin(options.settings()).await?;
    let mut injection = Injection::new(&settings, &options.namespace);
    let mut text = String::new();
    for path in &options.filenames {
        let source = path.display().to_string();
        let injected = injection.manifests(&read(path)?, &source)?;
        // Files meet between documents.
        if !text.is_empty() && !injected.starts_with("---") {
            text.push_str("---\n");
        }
        text.push_str(&injected);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    for note in injection.notes {
        let _ = writeln!(anstream::stderr(), "{note}");
    }
    output::line(text.trim_end_matches('\n'))?;
    Ok(ExitCode::SUCCESS)
}

impl Inject {
    async fn settings(&self) -> anyhow::Result<MeshSettings> {
        let namespace = &self.mesh.istio_namespace;
        let mut settings = match self.offline || !self.values.is_empty() {
            true => {
                let values = self.values.iter().map(|path| read(path));
                let values: Vec<String> = values.collect::<anyhow::Result<_>>()?;
                MeshSettings::of_values(&values, namespace, &self.revision)?
            }
            false => {
                let client = self.cluster.client().await;
                let found = match client {
                    Ok(client) => {
                        let read = MeshSettings::of_cluster(&client, namespace, &self.revision);
                        Box::pin(read).await
                    }
                    Err(error) => Err(error),
                };
                found.context(
                    "read the mesh's settings from the cluster (without one: --offline, or --values FILE)",
                )?
            }
        };
        if let Some(path) = &self.mesh_config {
            settings.set_mesh(&read(path)?, &path.display().to_string())?;
        }
        Ok(settings)
    }
}
