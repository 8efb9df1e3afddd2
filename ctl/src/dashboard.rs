//! `meshctl dashboard`: pages of the control plane and of proxies, in a browser of this machine.

use std::net::SocketAddr;

use anyhow::Context;
use clap::{ArgAction, Args, Subcommand};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{ClusterArgs, MeshNamespace};
use crate::output;
use crate::target::forward::{self, Forward};
use crate::target::{ADMIN_PORT, MONITORING_PORT, Mesh, Pod};

/// Options of `dashboard`.
#[derive(Args)]
pub(crate) struct Dashboard {
    #[command(subcommand)]
    page: Page,
}

#[derive(Subcommand)]
enum Page {
    /// The control plane's debug pages: proxies, problems, metrics.
    #[command(visible_alias = "controlz")]
    ControlPlane(Options),
    /// The admin pages of a pod's proxy: configuration, clusters, certificates, log level.
    #[command(visible_alias = "envoy")]
    Proxy {
        /// The pod: `POD`, `POD.NAMESPACE` or `deployment/NAME[.NAMESPACE]`.
        pod: String,
        /// Namespace of the pod.
        #[arg(short, long)]
        namespace: Option<String>,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args)]
struct Options {
    /// Local port; 0 takes any free one.
    #[arg(short, long, default_value_t = 0)]
    port: u16,
    /// Whether to open the page in a browser; false only prints its address.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true")]
    browser: bool,
    #[command(flatten)]
    mesh_namespace: MeshNamespace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Forwards a local port until Ctrl-C.
pub(crate) async fn run(dashboard: &Dashboard) -> anyhow::Result<()> {
    let options = match &dashboard.page {
        Page::ControlPlane(options) | Page::Proxy { options, .. } => options,
    };
    let client = options.cluster.client().await?;
    let mesh = Mesh::kubernetes(client.clone(), &options.mesh_namespace.istio_namespace);
    let (pod, port) = match &dashboard.page {
        Page::ControlPlane(_) => (
            mesh.control_plane_pods().await?.swap_remove(0).0,
            MONITORING_PORT,
        ),
        Page::Proxy { pod, namespace, .. } => {
            (mesh.pod(pod, namespace.as_deref()).await?, ADMIN_PORT)
        }
    };
    // A page that cannot be had is better told here than by a browser.
    forward::get(&client, &pod, port, "/")
        .await
        .with_context(|| format!("open port {port} of pod {}/{}", pod.namespace, pod.name))?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], options.port))).await;
    let listener = listener.with_context(|| {
        format!(
            "listen on port {} of this machine (choose another with --port)",
            options.port
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    output::line(&format!(
        "{url}  (port {port} of pod {}/{}; Ctrl-C ends it)",
        pod.namespace, pod.name
    ))?;
    if options.browser
        && let Err(error) = open::that_detached(&url)
    {
        output::line(&format!(
            "no browser can be opened here ({error}): open {url} yourself"
        ))?;
    }
    tokio::select! {
        ended = serve(&listener, &client, &pod, port) => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn serve(
    listener: &TcpListener,
    client: &kube::Client,
    pod: &Pod,
    port: u16,
) -> anyhow::Result<()> {
    loop {
        let (connection, _) = listener.accept().await.context("accept a connection")?;
        let (client, pod) = (client.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(connection, &client, &pod, port).await {
                // If nobody can be told, the browser shows a broken page.
                let _ = output::line(&format!("connection ended: {error:#}"));
            }
        });
    }
}

async fn carry(
    mut connection: TcpStream,
    client: &kube::Client,
    pod: &Pod,
    port: u16,
) -> anyhow::Result<()> {
    let mut forward = Forward::open(client, pod, port).await?;
    let mut stream = forward.stream()?;
    let copied = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
    match forward.reason().await {
        Some(reason) => anyhow::bail!("{}", reason.trim()),
        // A browser hangs up as it likes.
        None => Ok(copied.map(|_| ()).or_else(|error| match error.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })?),
    }
}
