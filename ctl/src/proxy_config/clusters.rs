//! `proxy-config clusters`.

use clap::Args;
use serde_json::Value;

use super::Common;
use crate::envoy::{ClusterName, configured_by, dumped, text};
use crate::output::{self, Format};

/// Options of `proxy-config clusters`.
#[derive(Args)]
pub(super) struct Options {
    /// Only clusters of hosts that contain this.
    #[arg(long)]
    fqdn: Option<String>,
    /// Only clusters of this service port.
    #[arg(long)]
    port: Option<u16>,
    /// Only clusters of this subset.
    #[arg(long)]
    subset: Option<String>,
    /// Only `inbound` or `outbound` clusters.
    #[arg(long)]
    direction: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Options {
    fn wants(&self, cluster: &Value) -> bool {
        let name = text(cluster, "name");
        let parts = ClusterName::parse(name);
        let part =
            |get: fn(&ClusterName<'_>) -> String| parts.as_ref().map(get).unwrap_or_default();
        self.fqdn
            .as_ref()
            .is_none_or(|fqdn| name.contains(fqdn.as_str()))
            && self
                .port
                .is_none_or(|port| part(|n| n.port.to_owned()) == port.to_string())
            && self
                .subset
                .as_ref()
                .is_none_or(|subset| part(|n| n.subset.to_owned()) == *subset)
            && self
                .direction
                .as_ref()
                .is_none_or(|direction| part(|n| n.direction.to_owned()) == *direction)
    }
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let dump = options.common.admin("/config_dump").await?;
    let mut clusters: Vec<&Value> = dumped(&dump, "ClustersConfigDump", "dynamic_active_clusters")
        .iter()
        .map(|item| &item["cluster"])
        .filter(|cluster| options.wants(cluster))
        .collect();
    clusters.sort_by_key(|cluster| sort_key(text(cluster, "name")));
    if options.common.output == Format::Json {
        return output::json(&clusters.into_iter().cloned().collect());
    }
    let rows = clusters.iter().map(|cluster| row(cluster)).collect();
    output::table(
        [
            "SERVICE FQDN",
            "PORT",
            "SUBSET",
            "DIRECTION",
            "TYPE",
            "DESTINATION RULE",
        ],
        rows,
    )
}

/// By host, then port, then subset.
fn sort_key(name: &str) -> (String, u16, String) {
    match ClusterName::parse(name) {
        Some(parts) => (
            parts.host.to_owned(),
            parts.port.parse().unwrap_or(0),
            parts.subset.to_owned(),
        ),
        None => (name.to_owned(), 0, String::new()),
    }
}

fn row(cluster: &Value) -> [String; 6] {
    let name = text(cluster, "name");
    let or_dash = |value: &str| {
        if value.is_empty() {
            "-".to_owned()
        } else {
            value.to_owned()
        }
    };
    let kind = cluster["type"].as_str().unwrap_or("STATIC").to_owned();
    let rule = configured_by(&cluster["metadata"]);
    match ClusterName::parse(name) {
        Some(parts) => [
            parts.host.to_owned(),
            or_dash(parts.port),
            or_dash(parts.subset),
            or_dash(parts.direction),
            kind,
            rule,
        ],
        None => [
            name.to_owned(),
            "-".into(),
            "-".into(),
            "-".into(),
            kind,
            rule,
        ],
    }
}
