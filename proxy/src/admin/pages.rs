//! The smaller admin pages.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::StatusCode;
use mesh_identity::certificate::CertificateInfo;
use mesh_identity::tls::web;
use serde_json::{Value, json};

use super::server::{Answer, Query, text, typed};
use crate::control::Control;

/// What there is, for people with a browser.
pub(super) fn help(paths: &[(&str, &str, &str)]) -> Answer {
    let mut page =
        String::from("<!doctype html><title>meshproxy</title><h1>meshproxy</h1><table>\n");
    for (path, method, meaning) in paths {
        let link = if *method == "GET" {
            format!("<a href=\"{path}\">{path}</a>")
        } else {
            (*path).to_owned()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "<tr><td>{method}<td>{link}<td>{meaning}");
    }
    page.push_str("</table>\n");
    typed(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// Envoy's state names.
pub(super) fn state(control: &Control) -> &'static str {
    if control.shared.drain.is_draining() {
        "DRAINING"
    } else if control.shared.readiness.missing().is_some() {
        "INITIALIZING"
    } else {
        "LIVE"
    }
}

pub(super) fn ready(control: &Control) -> Answer {
    match crate::status::not_ready(&control.shared) {
        None => text(StatusCode::OK, "LIVE\n"),
        Some(reason) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}: {reason}\n", state(control)),
        ),
    }
}

pub(super) fn server_info(control: &Control) -> Value {
    let node = &control.shared.bootstrap.node;
    let bootstrap = &control.shared.bootstrap;
    json!({
        "version": format!("meshproxy/{}", env!("CARGO_PKG_VERSION")),
        "state": state(control),
        "hot_restart_version": "disabled",
        "uptime_current_epoch": format!("{}s", control.started.elapsed().as_secs()),
        "uptime_all_epochs": format!("{}s", control.started.elapsed().as_secs()),
        "node": {"id": node.id, "cluster": node.cluster, "metadata": node.metadata, "user_agent_name": "meshproxy"},
        "command_line_options": {
            "concurrency": bootstrap.concurrency,
            "drain_time": format!("{}s", bootstrap.drain.as_secs()),
            "service_cluster": node.cluster,
            "service_node": node.id,
        },
    })
}

pub(super) fn certs(control: &Control) -> Value {
    let mut certificates = Vec::new();
    if let Some(current) = control.shared.certs.current() {
        let certificate = &current.certificate;
        let domain = certificate.id().trust_domain();
        let describe_all =
            |name: &str, list: &[rustls_pki_types::CertificateDer<'_>]| -> Vec<Value> {
                list.iter().filter_map(|der| describe(name, der)).collect()
            };
        certificates.push(json!({
            "ca_cert": describe_all("ROOTCA", certificate.bundle().roots(&domain)),
            "cert_chain": describe_all("default", certificate.chain()),
        }));
    }
    for (name, secret) in control.shared.snapshot.load().secrets() {
        let mesh_route::Secret::Certificate {
            chain: mesh_route::tls::Material::Pem(pem),
            ..
        } = &**secret
        else {
            continue;
        };
        let chain: Vec<Value> = web::certificates_of(pem)
            .iter()
            .filter_map(|certificate| describe(name, certificate))
            .collect();
        certificates.push(json!({"ca_cert": [], "cert_chain": chain}));
    }
    json!({"certificates": certificates})
}

fn describe(path: &str, der: &[u8]) -> Option<Value> {
    let info = CertificateInfo::from_der(der).ok()?;
    let names: Vec<Value> = info
        .names
        .iter()
        .map(|name| match name {
            uri if uri.contains("://") => json!({"uri": uri}),
            ip if ip.parse::<std::net::IpAddr>().is_ok() => json!({"ip_address": ip}),
            dns => json!({"dns": dns}),
        })
        .collect();
    let left = info
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    Some(json!({
        "path": path,
        "serial_number": info.serial,
        "subject_alt_names": names,
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": timestamp(info.not_before),
        "expiration_time": timestamp(info.not_after),
    }))
}

fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

pub(super) fn listeners_json(control: &Control) -> Value {
    let statuses: Vec<Value> = addresses(control)
        .into_iter()
        .map(|(name, address)| {
            json!({
                "name": name,
                "local_address": {
                    "socket_address": {"address": address.ip().to_string(), "port_value": address.port()},
                },
            })
        })
        .collect();
    json!({"listener_statuses": statuses})
}

pub(super) fn listeners_text(control: &Control) -> String {
    addresses(control)
        .into_iter()
        .fold(String::new(), |mut page, (name, address)| {
            let _ = writeln!(page, "{name}::{address}");
            page
        })
}

fn addresses(control: &Control) -> Vec<(String, std::net::SocketAddr)> {
    let snapshot = control.shared.snapshot.load();
    let mut list: Vec<_> = snapshot
        .listeners()
        .map(|listener| (listener.name.to_string(), listener.address))
        .collect();
    list.sort();
    list
}

/// Shows the filter, or changes it: `?level=L` for all, `?TARGET=L` for one, `?paths=A:L,B:L`.
pub(super) fn logging(control: &Control, query: &Query) -> Answer {
    let mut directives = Vec::new();
    for (name, value) in query.iter() {
        // Without this a typing error is taken for the name of a module that logs everything.
        if let Some(word) = value.split(',').map(level_of).find(|word| !is_level(word)) {
            let help = "write off, error, warn, info, debug or trace";
            let body = format!("{word:?} is not a log level: {help}\n");
            return text(StatusCode::BAD_REQUEST, body);
        }
        match name {
            "level" => directives = vec![value.to_owned()],
            "paths" => directives.extend(value.split(',').map(|pair| pair.replace(':', "="))),
            target => directives.push(format!("{target}={value}")),
        }
    }
    if !directives.is_empty() {
        if !query.has("level") {
            directives.insert(0, control.log.current());
        }
        if let Err(error) = control.log.set(&directives.join(",")) {
            return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
        }
        tracing::info!(filter = control.log.current(), "log filter changed");
    }
    text(
        StatusCode::OK,
        format!("active loggers:\n  {}\n", control.log.current()),
    )
}

/// The level in `LEVEL`, `TARGET=LEVEL` or `TARGET:LEVEL`.
fn level_of(directive: &str) -> &str {
    directive.rsplit(['=', ':']).next().unwrap_or(directive)
}

fn is_level(word: &str) -> bool {
    let words = [
        "off", "critical", "error", "warn", "warning", "info", "debug", "trace",
    ];
    words.contains(&word.trim())
}

/// Metrics as `name{labels}: value`, one per line, or as Envoy's JSON.
pub(super) fn stats(control: &Control, query: &Query) -> Answer {
    let filter = match query.get("filter").map(regex::Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("filter is no regular expression: {error}\n"),
            );
        }
    };
    let rendered = control.shared.registry.render();
    let used_only = query.has("usedonly");
    let samples = rendered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| filter.as_ref().is_none_or(|filter| filter.is_match(series)))
        .filter(|(_, value)| !used_only || *value != "0");
    match query.get("format") {
        None | Some("text") => {
            let page = samples.fold(String::new(), |mut page, (series, value)| {
                let _ = writeln!(page, "{series}: {value}");
                page
            });
            text(StatusCode::OK, page)
        }
        Some("json") => {
            let stats: Vec<Value> = samples
                .map(|(name, value)| json!({"name": name, "value": value.parse::<f64>().ok()}))
                .collect();
            super::json(&json!({"stats": stats}))
        }
        Some(other) => {
            let body = format!("format {other:?} is not known: text, json or prometheus\n");
            text(StatusCode::BAD_REQUEST, body)
        }
    }
}
