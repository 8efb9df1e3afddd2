//! `proxy-config listeners`.

use clap::Args;
use serde_json::Value;

use super::Common;
use crate::envoy::{dumped, items, text};
use crate::output::{self, Format};

/// Options of `proxy-config listeners`.
#[derive(Args)]
pub(super) struct Options {
    /// Only listeners on this address.
    #[arg(long)]
    address: Option<String>,
    /// Only listeners on this port.
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let dump = options.common.admin("/config_dump").await?;
    let mut listeners: Vec<&Value> = dumped(&dump, "ListenersConfigDump", "dynamic_listeners")
        .iter()
        .map(|item| &item["active_state"]["listener"])
        .filter(|listener| {
            let (ip, port) = bind_address(listener);
            options.address.as_ref().is_none_or(|address| ip == address)
                && options.port.is_none_or(|wanted| port == u64::from(wanted))
        })
        .collect();
    listeners.sort_by_key(|listener| (bind_address(listener).1, text(listener, "name").to_owned()));
    if options.common.output == Format::Json {
        return output::json(&listeners.into_iter().cloned().collect());
    }
    let rows = listeners
        .iter()
        .flat_map(|listener| rows(listener))
        .collect();
    output::table(["ADDRESS", "PORT", "MATCH", "DESTINATION"], rows)
}

fn bind_address(listener: &Value) -> (&str, u64) {
    let socket = &listener["address"]["socket_address"];
    (
        text(socket, "address"),
        socket["port_value"].as_u64().unwrap_or_default(),
    )
}

fn rows(listener: &Value) -> Vec<[String; 4]> {
    let (ip, port) = bind_address(listener);
    items(&listener["filter_chains"])
        .iter()
        .chain(std::iter::once(&listener["default_filter_chain"]).filter(|chain| chain.is_object()))
        .map(|chain| {
            [
                ip.to_owned(),
                port.to_string(),
                matched(chain),
                destination(chain),
            ]
        })
        .collect()
}

/// What a connection must look like to take this chain, in a few words.
fn matched(chain: &Value) -> String {
    let on = &chain["filter_chain_match"];
    let mut words = Vec::new();
    if let Some(port) = on["destination_port"].as_u64() {
        words.push(format!("port {port}"));
    }
    let list =
        |field: &str| -> Vec<&str> { items(&on[field]).iter().filter_map(Value::as_str).collect() };
    match text(on, "transport_protocol") {
        "" => {}
        "tls" => words.push("TLS".to_owned()),
        "raw_buffer" => words.push("plaintext".to_owned()),
        other => words.push(other.to_owned()),
    }
    if !list("server_names").is_empty() {
        words.push(format!("SNI {}", list("server_names").join(",")));
    }
    if !list("application_protocols").is_empty() {
        words.push(format!(
            "protocol {}",
            list("application_protocols").join(",")
        ));
    }
    for range in items(&on["prefix_ranges"]) {
        words.push(format!(
            "to {}/{}",
            text(range, "address_prefix"),
            range["prefix_len"].as_u64().unwrap_or(32)
        ));
    }
    if words.is_empty() {
        "ALL".to_owned()
    } else {
        words.join("; ")
    }
}

/// Where the chain's last filter sends: a route table or a cluster.
fn destination(chain: &Value) -> String {
    let Some(filter) = items(&chain["filters"])
        .last()
        .map(|filter| &filter["typed_config"])
    else {
        return "nowhere".to_owned();
    };
    if let Some(route) = filter["rds"]["route_config_name"].as_str() {
        return format!("Route: {route}");
    }
    if let Some(route) = filter["route_config"]["name"].as_str() {
        return format!("Inline route: {route}");
    }
    if let Some(cluster) = filter["cluster"].as_str() {
        return format!("Cluster: {cluster}");
    }
    let weighted = items(&filter["weighted_clusters"]["clusters"]).iter();
    let weighted: Vec<String> = weighted
        .map(|item| {
            format!(
                "{} ({})",
                text(item, "name"),
                item["weight"].as_u64().unwrap_or_default()
            )
        })
        .collect();
    format!("Clusters: {}", weighted.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_is_told_in_words() {
        let chain = json!({
            "filter_chain_match": {"destination_port": 9080, "transport_protocol": "tls",
                "application_protocols": ["istio-http/1.1"]},
            "filters": [{"typed_config": {"route_config": {"name": "inbound|9080||"}}}],
        });
        assert_eq!(matched(&chain), "port 9080; TLS; protocol istio-http/1.1");
        assert_eq!(destination(&chain), "Inline route: inbound|9080||");
    }
}
