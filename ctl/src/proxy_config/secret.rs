//! `proxy-config secret`.

use clap::Args;
use serde_json::Value;

use super::Common;
use crate::envoy::{items, text};
use crate::output::{self, Format};

/// Options of `proxy-config secret`.
#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let certs = options.common.admin("/certs").await?;
    if options.common.output == Format::Json {
        return output::json(&certs);
    }
    let rows = items(&certs["certificates"])
        .iter()
        .flat_map(|entry| {
            let chain = items(&entry["cert_chain"])
                .iter()
                .map(|cert| row("Cert Chain", cert));
            chain.chain(items(&entry["ca_cert"]).iter().map(|cert| row("CA", cert)))
        })
        .collect();
    output::table(
        [
            "RESOURCE NAME",
            "TYPE",
            "IDENTITY",
            "SERIAL NUMBER",
            "NOT BEFORE",
            "NOT AFTER",
        ],
        rows,
    )
}

fn row(kind: &str, certificate: &Value) -> [String; 6] {
    let identities: Vec<&str> = items(&certificate["subject_alt_names"])
        .iter()
        .filter_map(|name| name["uri"].as_str().or_else(|| name["dns"].as_str()))
        .collect();
    [
        text(certificate, "path").to_owned(),
        kind.to_owned(),
        identities.join(","),
        text(certificate, "serial_number").to_owned(),
        text(certificate, "valid_from").to_owned(),
        text(certificate, "expiration_time").to_owned(),
    ]
}
