//! `meshctl proxy-status`: who is connected, and who has what.

use clap::Args;

use crate::envoy::{items, text};
use crate::output::{self, Format};
use crate::target::MeshArgs;

/// Options of `proxy-status`.
#[derive(Args)]
pub(crate) struct ProxyStatus {
    /// Only this proxy (`POD` or `POD.NAMESPACE`).
    pod: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// Prints a line per proxy: SYNCED (acknowledged), STALE (sent, no answer yet), NOT SENT, or the
/// error with which it refused.
pub(crate) async fn run(options: &ProxyStatus) -> anyhow::Result<()> {
    let status = options.mesh.mesh()?.control_plane("/debug/syncz").await?;
    let wanted = |proxy: &&serde_json::Value| {
        let name = text(proxy, "proxy");
        options.pod.as_ref().is_none_or(|pod| name == pod || name.split('.').next() == Some(pod))
    };
    let proxies: Vec<_> = items(&status).iter().filter(wanted).cloned().collect();
    if options.output == Format::Json {
        return output::json(&proxies.into());
    }
    let mut refused = Vec::new();
    let rows = proxies
        .iter()
        .map(|proxy| {
            for error in items(&proxy["errors"]) {
                refused.push(format!("{}: {}", text(proxy, "proxy"), error.as_str().unwrap_or_default()));
            }
            ["proxy", "type", "cds", "lds", "eds", "rds", "istiod", "version"]
                .map(|field| text(proxy, field).to_owned())
        })
        .collect();
    output::table(["NAME", "TYPE", "CDS", "LDS", "EDS", "RDS", "ISTIOD", "VERSION"], rows)?;
    if !refused.is_empty() {
        output::line(&format!("\nRefused by proxies (the last good configuration stays):\n{}", refused.join("\n")))?;
    }
    Ok(())
}
