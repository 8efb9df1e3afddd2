//! `meshctl local get`: objects as tables, YAML or JSON.

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Place;
use crate::{output, yaml};

/// How to print objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Columns with addresses and owners.
    Wide,
    /// Whole objects.
    Yaml,
    /// Whole objects.
    Json,
    /// `kind/name` lines.
    Name,
}

/// Arguments of `get`.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The kind (pods, svc, VirtualService, ...); several with commas.
    kind: String,
    /// Only this object.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: KEY=VALUE,KEY,...
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "name")]
    selector: Option<String>,
    /// Add a column with the labels.
    #[arg(long)]
    show_labels: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) async fn run(get: &Get) -> anyhow::Result<()> {
    let client = get.place.client()?;
    let (kinds, name) = match (get.kind.split_once('/'), &get.name) {
        (Some((kind, name)), None) => (kind, Some(name)),
        (Some(_), Some(_)) => bail!("give KIND/NAME or KIND NAME, not both"),
        (None, name) => (get.kind.as_str(), name.as_deref()),
    };
    let namespace = (!get.all_namespaces).then_some(get.namespace.as_str());
    let mut all = Vec::new();
    for kind in kinds.split(',') {
        let mut items = client.get(kind, namespace, name).await?;
        if let Some(selector) = &get.selector {
            items.retain(|item| selected(item, selector));
        }
        if matches!(get.output, Format::Table | Format::Wide) {
            print_table(&items, get)?;
        }
        all.extend(items);
    }
    match get.output {
        Format::Table | Format::Wide => Ok(()),
        Format::Name => all.iter().try_for_each(|item| {
            output::line(&format!(
                "{}/{}",
                text(&item["kind"]).to_lowercase(),
                text(&item["metadata"]["name"])
            ))
        }),
        Format::Json => output::json(&whole(all, name)),
        Format::Yaml => output::line(yaml::print(&whole(all, name)).trim_end()),
    }
}

/// One object by its name, several as a List.
fn whole(mut items: Vec<Value>, name: Option<&str>) -> Value {
    match (items.len(), name) {
        (1, Some(_)) => items.remove(0),
        _ => json!({"apiVersion": "v1", "kind": "List", "items": items}),
    }
}

fn print_table(items: &[Value], get: &Get) -> anyhow::Result<()> {
    let Some(first) = items.first() else {
        let place = match get.all_namespaces {
            true => "any namespace".to_owned(),
            false => format!("namespace {}", get.namespace),
        };
        return output::line(&format!("no {} found in {place}", get.kind));
    };
    let wide = get.output == Format::Wide;
    let columns = columns(text(&first["kind"]), wide);
    let mut header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    if get.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    if get.show_labels {
        header.push("LABELS");
    }
    let rows = items.iter().map(|item| {
        let mut row: Vec<String> = columns.iter().map(|(_, cell)| cell(item)).collect();
        if get.all_namespaces {
            row.insert(0, text(&item["metadata"]["namespace"]).to_owned());
        }
        if get.show_labels {
            row.push(labels(item));
        }
        row
    });
    print_rows(&header, rows.collect())
}

/// Whether an object has all labels of `KEY=VALUE,KEY,...`.
fn selected(item: &Value, selector: &str) -> bool {
    let labels = &item["metadata"]["labels"];
    selector.split(',').all(|part| match part.split_once('=') {
        // Both `=` and `==` mean equal.
        Some((key, value)) => labels[key] == value.trim_start_matches('='),
        None => labels[part].is_string(),
    })
}

fn labels(item: &Value) -> String {
    let labels = item["metadata"]["labels"].as_object();
    let pairs = labels.into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    match pairs.is_empty() {
        true => "<none>".to_owned(),
        false => pairs.join(","),
    }
}

fn print_rows(header: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    let mut widths: Vec<usize> = header.iter().map(|name| name.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        output::line(padded.join("   ").trim_end())
    };
    line(header.to_vec())?;
    rows.iter()
        .try_for_each(|row| line(row.iter().map(String::as_str).collect()))
}

type Cell = fn(&Value) -> String;

fn columns(kind: &str, wide: bool) -> Vec<(&'static str, Cell)> {
    let mut columns: Vec<(&'static str, Cell)> =
        vec![("NAME", |item| text(&item["metadata"]["name"]).to_owned())];
    match kind {
        "Pod" => {
            columns.push(("READY", pod_ready));
            columns.push(("STATUS", pod_status));
            columns.push(("RESTARTS", pod_restarts));
            if wide {
                columns.push(("IP", |item| text(&item["status"]["podIP"]).to_owned()));
            }
        }
        "Deployment" | "ReplicaSet" => {
            columns.push(("READY", replicas_ready));
            if kind == "Deployment" {
                columns.push(("UP-TO-DATE", |item| {
                    number(&item["status"]["updatedReplicas"]).to_string()
                }));
                columns.push(("AVAILABLE", |item| {
                    number(&item["status"]["availableReplicas"]).to_string()
                }));
            }
        }
        "Service" => {
            columns.push(("TYPE", |item| text(&item["spec"]["type"]).to_owned()));
            columns.push(("CLUSTER-IP", |item| {
                text(&item["spec"]["clusterIP"]).to_owned()
            }));
            columns.push(("PUBLISHED", published));
            columns.push(("PORTS", ports));
        }
        "EndpointSlice" => {
            columns.push(("PORTS", |item| {
                join(&item["ports"], |port| number(&port["port"]).to_string())
            }));
            columns.push(("ENDPOINTS", endpoints));
        }
        "ConfigMap" | "Secret" => columns.push(("DATA", |item| {
            item["data"]
                .as_object()
                .map_or(0, serde_json::Map::len)
                .to_string()
        })),
        "VirtualService" => {
            columns.push(("GATEWAYS", |item| {
                join(&item["spec"]["gateways"], |name| text(name).to_owned())
            }));
            columns.push(("HOSTS", |item| {
                join(&item["spec"]["hosts"], |name| text(name).to_owned())
            }));
        }
        "DestinationRule" => columns.push(("HOST", |item| text(&item["spec"]["host"]).to_owned())),
        _ => {}
    }
    columns.push(("CREATED", |item| {
        text(&item["metadata"]["creationTimestamp"]).to_owned()
    }));
    columns
}

fn replicas_ready(item: &Value) -> String {
    let ready = number(&item["status"]["readyReplicas"]);
    format!("{ready}/{}", number(&item["spec"]["replicas"]))
}

fn statuses(item: &Value) -> impl Iterator<Item = &Value> {
    let list = |name: &str| item["status"][name].as_array().into_iter().flatten();
    list("containerStatuses").chain(list("initContainerStatuses"))
}

/// Containers that stay: all but the init containers that end.
fn lasting(item: &Value) -> Vec<&Value> {
    let init = item["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten();
    let passing: Vec<&str> = init
        .filter(|init| init["restartPolicy"] != "Always")
        .map(|init| text(&init["name"]))
        .collect();
    statuses(item)
        .filter(|status| !passing.contains(&text(&status["name"])))
        .collect()
}

fn pod_ready(item: &Value) -> String {
    let lasting = lasting(item);
    let ready = lasting
        .iter()
        .filter(|status| status["ready"] == true)
        .count();
    format!("{ready}/{}", lasting.len())
}

fn pod_status(item: &Value) -> String {
    if !item["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".to_owned();
    }
    let reason = statuses(item)
        .filter_map(|status| status["state"]["waiting"]["reason"].as_str())
        .find(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"));
    reason
        .unwrap_or_else(|| text(&item["status"]["phase"]))
        .to_owned()
}

fn pod_restarts(item: &Value) -> String {
    statuses(item)
        .map(|status| number(&status["restartCount"]))
        .sum::<u64>()
        .to_string()
}

fn published(item: &Value) -> String {
    let note = text(&item["metadata"]["annotations"]["local.mesh/published"]);
    if note.is_empty() {
        "-".to_owned()
    } else {
        note.to_owned()
    }
}

fn ports(item: &Value) -> String {
    join(&item["spec"]["ports"], |port| {
        let node_port = match port["nodePort"].as_u64() {
            Some(node_port) => format!(":{node_port}"),
            None => String::new(),
        };
        format!(
            "{}{node_port}/{}",
            number(&port["port"]),
            text(&port["protocol"])
        )
    })
}

fn endpoints(item: &Value) -> String {
    let ready = item["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let addresses: Vec<&str> = ready
        .map(|endpoint| text(&endpoint["addresses"][0]))
        .collect();
    addresses.join(",")
}

fn join(list: &Value, show: impl Fn(&Value) -> String) -> String {
    let shown: Vec<String> = list.as_array().into_iter().flatten().map(show).collect();
    shown.join(",")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_ask_for_all_labels() {
        let item = json!({"metadata": {"labels": {"app": "web", "v": "1"}}});
        for selector in ["app=web", "app==web,v", "v=1,app=web"] {
            assert!(selected(&item, selector), "{selector}");
        }
        for selector in ["app=x", "app=web,z", "z"] {
            assert!(!selected(&item, selector), "{selector}");
        }
        assert_eq!(labels(&item), "app=web,v=1");
        assert_eq!(labels(&json!({})), "<none>");
    }
}
