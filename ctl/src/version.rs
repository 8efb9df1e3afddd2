//! `meshctl version`: client, control plane, and how many proxies of which version.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use crate::envoy::text;
use crate::output::{self, Format};
use crate::target::MeshArgs;

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Options of `version`.
#[derive(Args)]
pub(crate) struct Version {
    /// Only the client's version; asks no mesh.
    #[arg(long)]
    client: bool,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What runs.
struct Running {
    /// Pod, revision and version of each pod of the control plane.
    control_plane: Vec<[String; 3]>,
    /// How many proxies there are of each version.
    proxies: BTreeMap<String, usize>,
}

/// Prints the versions. Without a running mesh: the client's own, and that there is none.
pub(crate) async fn run(options: &Version) -> anyhow::Result<()> {
    let running = match options.client {
        true => None,
        false => Some(running(options).await),
    };
    if options.output == Format::Json {
        let running = running.and_then(Result::ok);
        let control_plane = running.as_ref().map(|running| {
            let pods = running.control_plane.iter();
            let pods = pods.map(|[pod, revision, version]| {
                json!({"pod": pod, "revision": revision, "version": version})
            });
            pods.collect::<Vec<_>>()
        });
        let proxies = running.as_ref().map(|running| &running.proxies);
        return output::json(
            &json!({"client": CLIENT, "controlPlane": control_plane, "dataPlane": proxies}),
        );
    }
    output::line(&format!("client version: {CLIENT}"))?;
    match running {
        None => Ok(()),
        Some(Err(error)) => output::line(&format!("control plane: none found ({error:#})")),
        Some(Ok(running)) => print(&running),
    }
}

fn print(running: &Running) -> anyhow::Result<()> {
    for [pod, revision, version] in &running.control_plane {
        output::line(&format!(
            "control plane version: {version} (pod {pod}, revision {revision})"
        ))?;
    }
    let counted = running.proxies.iter();
    let counted = counted.map(|(version, count)| format!("{version} ({count} proxies)"));
    match counted.collect::<Vec<_>>() {
        none if none.is_empty() => output::line("data plane version: no proxy is connected"),
        counted => output::line(&format!("data plane version: {}", counted.join(", "))),
    }
}

async fn running(options: &Version) -> anyhow::Result<Running> {
    let mesh = options.mesh.mesh().await?;
    let pods = mesh.control_planes("/version").await?.into_iter();
    let pods = pods.map(|from| {
        [
            from.pod,
            from.revision,
            text(&from.answer, "version").to_owned(),
        ]
    });
    let control_plane = pods.collect();
    let mut proxies = BTreeMap::new();
    for proxy in mesh.proxies().await? {
        *proxies
            .entry(text(&proxy, "proxy_version").to_owned())
            .or_default() += 1;
    }
    Ok(Running {
        control_plane,
        proxies,
    })
}
