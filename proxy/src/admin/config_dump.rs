//! `/config_dump`: what the control plane sent and is in force, in the shape of
//! `envoy.admin.v3.ConfigDump`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use mesh_xds::type_url;
use serde_json::{Map, Value, json};

use super::server::{Answer, Query, json as answer_json, text};
use crate::control::Control;
use crate::state::chain;

/// How one type of resource stands in the dump.
struct Section {
    kind: &'static str,
    type_url: &'static str,
    active: &'static str,
    warming: &'static str,
    field: &'static str,
}

const SECTIONS: [Section; 5] = [
    Section {
        kind: "ClustersConfigDump",
        type_url: type_url::CLUSTER,
        active: "dynamic_active_clusters",
        warming: "dynamic_warming_clusters",
        field: "cluster",
    },
    Section {
        kind: "ListenersConfigDump",
        type_url: type_url::LISTENER,
        active: "dynamic_listeners",
        warming: "dynamic_listeners",
        field: "listener",
    },
    Section {
        kind: "RoutesConfigDump",
        type_url: type_url::ROUTE,
        active: "dynamic_route_configs",
        warming: "dynamic_route_configs",
        field: "route_config",
    },
    Section {
        kind: "SecretsConfigDump",
        type_url: type_url::SECRET,
        active: "dynamic_active_secrets",
        warming: "dynamic_warming_secrets",
        field: "secret",
    },
    Section {
        kind: "EndpointsConfigDump",
        type_url: type_url::ENDPOINT,
        active: "dynamic_endpoint_configs",
        warming: "dynamic_endpoint_configs",
        field: "endpoint_config",
    },
];

pub(super) fn answer(control: &Control, query: &Query) -> Answer {
    for (name, _) in query.iter() {
        if !["include_eds", "resource", "format"].contains(&name) {
            return text(
                StatusCode::BAD_REQUEST,
                format!("parameter {name} is not supported\n"),
            );
        }
    }
    if let Some(list) = query.get("resource") {
        return one_list(control, list);
    }
    let mut configs = vec![bootstrap(control)];
    let eds = query.has("include_eds");
    configs.extend(
        SECTIONS
            .iter()
            .filter(|section| eds || section.field != "endpoint_config")
            .map(|section| dump(control, section)),
    );
    answer_json(&json!({"configs": configs}))
}

/// `?resource=dynamic_listeners`: the items of one list.
fn one_list(control: &Control, list: &str) -> Answer {
    let Some(section) = SECTIONS
        .iter()
        .find(|section| section.active == list || section.warming == list)
    else {
        return text(StatusCode::NOT_FOUND, format!("there is no list {list}\n"));
    };
    let dumped = dump(control, section);
    answer_json(&json!({"configs": dumped.get(list).cloned().unwrap_or_else(|| json!([]))}))
}

fn bootstrap(control: &Control) -> Value {
    let node = &control.shared.bootstrap.node;
    json!({
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": {
            "node": {"id": node.id, "cluster": node.cluster, "metadata": node.metadata},
            "admin": {"address": {"socket_address": {
                "address": control.shared.bootstrap.admin.ip().to_string(),
                "port_value": control.shared.bootstrap.admin.port(),
            }}},
        },
    })
}

fn dump(control: &Control, section: &Section) -> Value {
    let compiler = control.compiler.borrow();
    let mut lists: Map<String, Value> = Map::new();
    lists.insert(
        "@type".to_owned(),
        json!(format!(
            "type.googleapis.com/envoy.admin.v3.{}",
            section.kind
        )),
    );
    lists.insert(section.active.to_owned(), json!([]));
    let mut push = |list: &str, item: Value| {
        if let Value::Array(items) = lists.entry(list).or_insert_with(|| json!([])) {
            items.push(item);
        }
    };
    for stored in compiler.resources(section.type_url) {
        let resource = mesh_xds::json::to_json(&stored.resource())
            .unwrap_or_else(|error| json!({"name": stored.name, "unprintable": chain(&error)}));
        let item = item(
            section,
            stored.name,
            stored.version,
            redact(section, resource),
            stored.warming,
        );
        push(
            if stored.warming {
                section.warming
            } else {
                section.active
            },
            item,
        );
    }
    for refused in compiler.refusals(section.type_url) {
        push(
            section.active,
            json!({"name": refused.name, "error_state": {"details": refused.reason.to_string()}}),
        );
    }
    if section.field == "secret" {
        own_secrets(control)
            .into_iter()
            .for_each(|item| push(section.active, item));
    }
    Value::Object(lists)
}

fn item(section: &Section, name: &str, version: &str, resource: Value, warming: bool) -> Value {
    match section.field {
        "listener" => {
            let state = if warming {
                "warming_state"
            } else {
                "active_state"
            };
            json!({"name": name, state: {"version_info": version, "listener": resource}})
        }
        "secret" => json!({"name": name, "version_info": version, "secret": resource}),
        field => json!({"version_info": version, field: resource}),
    }
}

/// Takes private keys out, at whatever depth.
fn redact(section: &Section, mut resource: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match name.as_str() {
                        "private_key" | "password" | "session_ticket_keys" => {
                            *field = json!({"inline_string": "[redacted]"});
                        }
                        _ => walk(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    // Clusters and listeners may carry inline keys too.
    if section.field != "endpoint_config" {
        walk(&mut resource);
    }
    resource
}

/// The workload certificate and its roots, which come by CSR but read like SDS secrets.
fn own_secrets(control: &Control) -> Vec<Value> {
    let Some(current) = control.shared.certs.current() else {
        return Vec::new();
    };
    let certificate = &current.certificate;
    let pem = |list: &[rustls_pki_types::CertificateDer<'_>]| {
        let text: String = list
            .iter()
            .map(|der| mesh_identity::certificate::to_pem(der))
            .collect();
        json!({"inline_bytes": STANDARD.encode(text)})
    };
    let roots = certificate.bundle().roots(&certificate.id().trust_domain());
    let version = current.generation.to_string();
    vec![
        json!({"name": "default", "version_info": version, "secret": {
            "@type": type_url::SECRET,
            "name": "default",
            "tls_certificate": {
                "certificate_chain": pem(certificate.chain()),
                "private_key": {"inline_string": "[redacted]"},
            },
        }}),
        json!({"name": "ROOTCA", "version_info": version, "secret": {
            "@type": type_url::SECRET,
            "name": "ROOTCA",
            "validation_context": {"trusted_ca": pem(roots)},
        }}),
    ]
}
