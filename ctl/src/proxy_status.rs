//! `meshctl proxy-status`: who is connected, and who has what.

use clap::Args;
use serde_json::Value;

use crate::envoy::text;
use crate::output::{self, Format};
use crate::target::MeshArgs;

/// Options of `proxy-status`.
#[derive(Args)]
pub(crate) struct ProxyStatus {
    /// Only this proxy (`POD` or `POD.NAMESPACE`).
    pod: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// The types of configuration, by their xDS names and the status page's.
const TYPES: [(&str, &str); 5] = [
    ("CDS", "clusters"),
    ("LDS", "listeners"),
    ("EDS", "endpoints"),
    ("RDS", "routes"),
    ("SDS", "secrets"),
];

/// Prints a line per proxy: SYNCED (applied), STALE (sent, but unanswered or refused) or NOT SENT,
/// and under the table why proxies refused what they refused.
pub(crate) async fn run(options: &ProxyStatus) -> anyhow::Result<()> {
    let mesh = options.mesh.mesh().await?;
    let wanted = |proxy: &&Value| {
        let asked = options.pod.as_deref();
        asked.is_none_or(|pod| name(proxy) == pod || text(proxy, "pod") == pod)
    };
    let mut proxies = mesh.proxies().await?;
    proxies.retain(|proxy| wanted(&proxy));
    if options.output == Format::Json {
        return output::json(&proxies.into());
    }
    let rows = proxies.iter().map(row).collect();
    output::table(
        [
            "NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "SDS", "VERSION",
        ],
        rows,
    )?;
    let refused: Vec<String> = proxies.iter().flat_map(refusals).collect();
    if !refused.is_empty() {
        output::line("\nRefused by proxies, which keep the last good configuration:")?;
        output::line(&refused.join("\n"))?;
    }
    Ok(())
}

/// `POD.NAMESPACE`.
pub(crate) fn name(proxy: &Value) -> String {
    format!("{}.{}", text(proxy, "pod"), text(proxy, "namespace"))
}

fn row(proxy: &Value) -> [String; 8] {
    let state = |field: &str| text(&proxy[field], "status").to_owned();
    let [cds, lds, eds, rds, sds] = TYPES.map(|(_, field)| state(field));
    let version = text(proxy, "proxy_version").to_owned();
    [
        name(proxy),
        text(proxy, "cluster_id").to_owned(),
        cds,
        lds,
        eds,
        rds,
        sds,
        version,
    ]
}

fn refusals(proxy: &Value) -> Vec<String> {
    let refused = refused(proxy);
    refused
        .map(|(kind, why)| format!("{} {kind}: {why}", name(proxy)))
        .collect()
}

/// Type and reason of what a proxy refused last.
pub(crate) fn refused(proxy: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    let nacks = TYPES
        .iter()
        .map(|(kind, field)| (*kind, &proxy[field]["nack"]));
    nacks
        .filter(|(_, nack)| nack.is_object())
        .map(|(kind, nack)| (kind, text(nack, "message")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_shown_with_its_reason() {
        let proxy = json!({"pod": "a", "namespace": "b", "cluster_id": "Kubernetes",
            "clusters": {"status": "STALE", "nack": {"version": "7", "message": "no such field"}},
            "listeners": {"status": "SYNCED", "nack": null}});
        assert_eq!(row(&proxy)[..4], ["a.b", "Kubernetes", "STALE", "SYNCED"]);
        assert_eq!(refusals(&proxy), ["a.b CDS: no such field"]);
    }
}
