//! `proxy-config routes`.

use clap::Args;
use serde_json::Value;

use super::Common;
use crate::envoy::{configured_by, dumped, items, text};
use crate::output::{self, Format};

/// Options of `proxy-config routes`.
#[derive(Args)]
pub(super) struct Options {
    /// Only the route table of this name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let dump = options.common.admin("/config_dump").await?;
    let dynamic = dumped(&dump, "RoutesConfigDump", "dynamic_route_configs");
    let inline = dumped(&dump, "RoutesConfigDump", "static_route_configs");
    let mut tables: Vec<&Value> = dynamic
        .iter()
        .chain(inline)
        .map(|item| &item["route_config"])
        .filter(|table| {
            options
                .name
                .as_ref()
                .is_none_or(|name| text(table, "name") == name)
        })
        .collect();
    tables.sort_by_key(|table| text(table, "name").to_owned());
    if options.common.output == Format::Json {
        return output::json(&tables.into_iter().cloned().collect());
    }
    let rows = tables.iter().flat_map(|table| rows(table)).collect();
    output::table(
        [
            "NAME",
            "VHOST NAME",
            "DOMAINS",
            "MATCH",
            "TO",
            "VIRTUAL SERVICE",
        ],
        rows,
    )
}

fn rows(table: &Value) -> Vec<[String; 6]> {
    items(&table["virtual_hosts"])
        .iter()
        .flat_map(|host| {
            items(&host["routes"])
                .iter()
                .map(move |route| row(table, host, route))
        })
        .collect()
}

fn row(table: &Value, host: &Value, route: &Value) -> [String; 6] {
    let domains = items(&host["domains"]);
    let first = domains.first().and_then(Value::as_str).unwrap_or_default();
    let domains = match domains.len() {
        0 | 1 => first.to_owned(),
        more => format!("{first} + {} more", more - 1),
    };
    [
        text(table, "name").to_owned(),
        text(host, "name").to_owned(),
        domains,
        matched(&route["match"]),
        target(route),
        configured_by(&route["metadata"]),
    ]
}

/// The path part of a match, and that there is more to it.
fn matched(on: &Value) -> String {
    let path = if let Some(path) = on["path"].as_str() {
        path.to_owned()
    } else if let Some(prefix) = on["path_separated_prefix"].as_str() {
        format!("{prefix}/*")
    } else if let Some(regex) = on["safe_regex"]["regex"].as_str() {
        format!("regex {regex}")
    } else {
        format!("{}*", text(on, "prefix"))
    };
    let headers: Vec<&str> = items(&on["headers"])
        .iter()
        .map(|header| text(header, "name"))
        .collect();
    if headers.is_empty() {
        path
    } else {
        format!("{path} with {}", headers.join(","))
    }
}

fn target(route: &Value) -> String {
    if let Some(status) = route["direct_response"]["status"].as_u64() {
        return format!("status {status}");
    }
    if route["redirect"].is_object() {
        return "redirect".to_owned();
    }
    if let Some(cluster) = route["route"]["cluster"].as_str() {
        return cluster.to_owned();
    }
    let weighted = items(&route["route"]["weighted_clusters"]["clusters"]).iter();
    let weighted: Vec<String> = weighted
        .map(|item| {
            format!(
                "{} ({})",
                text(item, "name"),
                item["weight"].as_u64().unwrap_or_default()
            )
        })
        .collect();
    weighted.join(" ")
}
