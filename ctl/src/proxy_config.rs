//! `meshctl proxy-config`: what one proxy holds, as it says itself.

mod clusters;
mod endpoints;
mod listeners;
mod routes;
mod secret;

use clap::{Args, Subcommand};

use crate::output::Format;
use crate::target::{Mesh, MeshArgs, Pod};

/// Options of `proxy-config`.
#[derive(Args)]
pub(crate) struct ProxyConfig {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Clusters: the services that the proxy can send to.
    #[command(visible_aliases = ["cluster", "c"])]
    Clusters(clusters::Options),
    /// Listeners: what the proxy does with a connection, by address and protocol.
    #[command(visible_aliases = ["listener", "l"])]
    Listeners(listeners::Options),
    /// Routes: where an HTTP request goes.
    #[command(visible_aliases = ["route", "r"])]
    Routes(routes::Options),
    /// Endpoints: the addresses of each cluster, with health.
    #[command(visible_aliases = ["endpoint", "ep"])]
    Endpoints(endpoints::Options),
    /// Certificates: the workload's own and the roots it trusts.
    #[command(visible_aliases = ["secrets", "s"])]
    Secret(secret::Options),
}

/// Which proxy is asked, and how the answer is printed.
#[derive(Args)]
struct Common {
    /// The pod: `POD`, `POD.NAMESPACE` or `deployment/NAME[.NAMESPACE]`.
    pod: String,
    /// Namespace of the pod.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

impl Common {
    async fn find(&self) -> anyhow::Result<(Mesh, Pod)> {
        let mesh = self.mesh.mesh().await?;
        let pod = mesh.pod(&self.pod, self.namespace.as_deref()).await?;
        Ok((mesh, pod))
    }

    async fn admin(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let (mesh, pod) = self.find().await?;
        mesh.admin(&pod, path).await
    }
}

/// Asks the proxy and prints.
pub(crate) async fn run(options: &ProxyConfig) -> anyhow::Result<()> {
    match &options.what {
        What::Clusters(options) => clusters::run(options).await,
        What::Listeners(options) => listeners::run(options).await,
        What::Routes(options) => routes::run(options).await,
        What::Endpoints(options) => endpoints::run(options).await,
        What::Secret(options) => secret::run(options).await,
    }
}
