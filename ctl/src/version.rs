//! `meshctl version`: client, control plane, and how many proxies of which version.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use crate::envoy::{items, text};
use crate::output::{self, Format};
use crate::target::MeshArgs;

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Options of `version`.
#[derive(Args)]
pub(crate) struct Version {
    /// Only the client's version; asks no mesh.
    #[arg(long)]
    client: bool,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// Prints the versions. Without a running mesh: the client's own, and that there is none.
pub(crate) async fn run(options: &Version) -> anyhow::Result<()> {
    let mesh = if options.client {
        None
    } else {
        Some(mesh_versions(options).await)
    };
    if options.output == Format::Json {
        let (control_plane, proxies) = match &mesh {
            Some(Ok((control_plane, proxies))) => (Some(control_plane), Some(proxies)),
            _ => (None, None),
        };
        let versions =
            json!({"client": CLIENT, "controlPlane": control_plane, "dataPlane": proxies});
        return output::json(&versions);
    }
    output::line(&format!("client version: {CLIENT}"))?;
    match mesh {
        None => Ok(()),
        Some(Err(error)) => output::line(&format!("control plane: none found ({error:#})")),
        Some(Ok((control_plane, proxies))) => {
            output::line(&format!("control plane version: {control_plane}"))?;
            let counted: Vec<String> = proxies
                .iter()
                .map(|(version, count)| format!("{version} ({count} proxies)"))
                .collect();
            output::line(&format!("data plane version: {}", counted.join(", ")))
        }
    }
}

async fn mesh_versions(options: &Version) -> anyhow::Result<(String, BTreeMap<String, usize>)> {
    let mesh = options.mesh.mesh()?;
    let version = mesh.control_plane("/version").await?;
    let mut proxies = BTreeMap::new();
    for proxy in items(&mesh.control_plane("/debug/syncz").await?) {
        *proxies
            .entry(text(proxy, "proxy_version").to_owned())
            .or_default() += 1;
    }
    Ok((text(&version, "version").to_owned(), proxies))
}
