//! `/clusters`: what balancing knows of each endpoint.

use std::fmt::Write as _;
use std::sync::Arc;

use mesh_route::cluster::endpoint::Health;
use mesh_route::{Cluster, Endpoint};
use serde_json::{Value, json};

use crate::control::Control;

fn sorted(control: &Control) -> Vec<Arc<Cluster>> {
    let mut clusters: Vec<_> = control.shared.snapshot.load().clusters().cloned().collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    clusters
}

/// Shape of `envoy.admin.v3.Clusters`.
pub(super) fn as_json(control: &Control) -> Value {
    let statuses: Vec<Value> = sorted(control)
        .iter()
        .map(|cluster| {
            let hosts: Vec<Value> = cluster
                .endpoints()
                .all()
                .iter()
                .map(|endpoint| host(endpoint))
                .collect();
            json!({
                "name": *cluster.name,
                "observability_name": *cluster.name,
                "added_via_api": true,
                "host_statuses": hosts,
            })
        })
        .collect();
    json!({"cluster_statuses": statuses})
}

fn host(endpoint: &Endpoint) -> Value {
    let stats = endpoint.stats();
    let mut health = json!({"eds_health_status": health_name(endpoint.health)});
    if stats.ejected {
        health["failed_outlier_check"] = json!(true);
    }
    let locality = &endpoint.locality;
    json!({
        "address": {"socket_address": {
            "address": endpoint.address.ip().to_string(),
            "port_value": endpoint.address.port(),
        }},
        "hostname": endpoint.hostname.as_deref().unwrap_or_default(),
        "stats": [
            {"name": "rq_total", "type": "COUNTER", "value": stats.total.to_string()},
            {"name": "rq_error", "type": "COUNTER", "value": stats.errors.to_string()},
            {"name": "rq_active", "type": "GAUGE", "value": stats.active.to_string()},
        ],
        "health_status": health,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": {"region": *locality.region, "zone": *locality.zone, "sub_zone": *locality.sub_zone},
    })
}

fn health_name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    }
}

/// Envoy's lines `cluster::address::figure::value`.
pub(super) fn as_text(control: &Control) -> String {
    let mut page = String::new();
    for cluster in sorted(control) {
        let name = &cluster.name;
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "{name}::observability_name::{name}\n{name}::added_via_api::true"
        );
        for (figure, value) in control.families.stats().cluster(name).named() {
            let _ = writeln!(page, "{name}::{figure}::{value}");
        }
        for endpoint in cluster.endpoints().all() {
            let prefix = format!("{name}::{}", endpoint.address);
            let stats = endpoint.stats();
            let flags = if stats.ejected {
                "/failed_outlier_check"
            } else {
                "healthy"
            };
            let _ = writeln!(
                page,
                "{prefix}::rq_active::{}\n{prefix}::rq_error::{}\n{prefix}::rq_total::{}\n\
                 {prefix}::hostname::{}\n{prefix}::health_flags::{flags}\n{prefix}::weight::{}\n{prefix}::priority::{}",
                stats.active,
                stats.errors,
                stats.total,
                endpoint.hostname.as_deref().unwrap_or_default(),
                endpoint.weight,
                endpoint.priority,
            );
        }
    }
    page
}
