//! `proxy-config endpoints`.

use clap::Args;
use serde_json::Value;

use super::Common;
use crate::envoy::{address, items, text};
use crate::output::{self, Format};

/// Options of `proxy-config endpoints`.
#[derive(Args)]
pub(super) struct Options {
    /// Only endpoints of this cluster.
    #[arg(long)]
    cluster: Option<String>,
    /// Only endpoints with this address.
    #[arg(long)]
    address: Option<String>,
    /// Only endpoints with this port.
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let clusters = options.common.admin("/clusters?format=json").await?;
    let chosen: Vec<&Value> = items(&clusters["cluster_statuses"])
        .iter()
        .filter(|cluster| {
            options
                .cluster
                .as_ref()
                .is_none_or(|name| text(cluster, "name") == name)
        })
        .collect();
    if options.common.output == Format::Json {
        return output::json(&chosen.into_iter().cloned().collect());
    }
    let mut rows: Vec<[String; 4]> = chosen
        .iter()
        .flat_map(|cluster| {
            let name = text(cluster, "name");
            items(&cluster["host_statuses"])
                .iter()
                .map(move |host| row(name, host))
        })
        .filter(|[endpoint, ..]| {
            let (ip, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
            options.address.as_ref().is_none_or(|address| ip == address)
                && options.port.is_none_or(|wanted| port == wanted.to_string())
        })
        .collect();
    rows.sort_by(|a, b| (&a[3], &a[0]).cmp(&(&b[3], &b[0])));
    output::table(["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], rows)
}

fn row(cluster: &str, host: &Value) -> [String; 4] {
    let health = &host["health_status"];
    let status = health["eds_health_status"].as_str().unwrap_or("HEALTHY");
    let outlier = if health["failed_outlier_check"] == true {
        "FAILED"
    } else {
        "OK"
    };
    [
        address(&host["address"]),
        status.to_owned(),
        outlier.to_owned(),
        cluster.to_owned(),
    ]
}
