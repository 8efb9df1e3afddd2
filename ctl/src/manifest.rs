//! `meshctl manifest`: what an installation consists of, without a cluster.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use mesh_helm::Chart;

use crate::cluster::MeshNamespace;
use crate::install::ChartArgs;
use crate::install::manifest::{Place, components, foundation, to_yaml};
use crate::install::values::ValueArgs;
use crate::output;

/// What to show of the charts.
#[derive(Subcommand)]
pub(crate) enum Manifest {
    /// Print the objects that `install` would apply, as YAML for `kubectl apply -f -`.
    Generate(Generate),
    /// Print a chart's values with their defaults and explanations.
    Values(ShowValues),
}

/// Options of `manifest generate`.
#[derive(Args)]
#[command(after_help = "\
Example:
  meshctl manifest generate --set profile=demo | kubectl apply -f -")]
pub(crate) struct Generate {
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    charts: ChartArgs,
    #[command(flatten)]
    namespace: MeshNamespace,
}

/// Options of `manifest values`.
#[derive(Args)]
pub(crate) struct ShowValues {
    /// The chart. Values of meshd stand at the root of what `install` takes, those of base under
    /// `base`, those of a gateway under `gateways.NAME`.
    #[arg(value_parser = PossibleValuesParser::new(mesh_helm::BUILTIN), default_value = "meshd")]
    chart: String,
}

/// Prints.
pub(crate) fn run(command: &Manifest) -> anyhow::Result<ExitCode> {
    let text = match command {
        Manifest::Generate(options) => options.generate()?,
        Manifest::Values(options) => Chart::builtin(&options.chart)?.values_text().to_owned(),
    };
    output::line(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

impl Generate {
    fn generate(&self) -> anyhow::Result<String> {
        let values = self.values.load()?;
        let place = Place {
            namespace: self.namespace.istio_namespace.clone(),
            revision: values.revision()?,
            charts: self.charts.manifests.clone(),
            kube_version: None,
            armed: false,
        };
        let mut components = components(&values, &place)?;
        components.insert(0, foundation(&values, &place, &components)?);
        Ok(to_yaml(&components))
    }
}
