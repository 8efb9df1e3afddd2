//! Merged metrics: Prometheus scrapes the proxy, which adds the application's own metrics.

use std::collections::BTreeMap;

use serde_json::json;

use crate::InjectError;

/// Ports of the proxy; scraping one of them as the application's would be a circle.
const PROXY_PORTS: [u16; 8] = [15000, 15001, 15006, 15008, 15020, 15021, 15053, 15090];

/// What becomes of the annotations `prometheus.io/...`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Value of `ISTIO_PROMETHEUS_ANNOTATIONS`: where the application's metrics are.
    pub(crate) application: Option<String>,
    /// Annotations that are replaced.
    pub(crate) removed: Vec<String>,
    /// Annotations that take their place.
    pub(crate) added: [(&'static str, String); 3],
}

/// Plans the merge; `None` if the pod is not to be scraped, or points at the proxy already.
///
/// # Errors
/// The port is not one, or is the proxy's.
pub(crate) fn merge(
    annotations: &BTreeMap<String, String>,
    status_port: u16,
) -> Result<Option<Merge>, InjectError> {
    let scrape = find(annotations, "prometheus_io_scrape");
    let path = find(annotations, "prometheus_io_path");
    let port = find(annotations, "prometheus_io_port");
    // As Istio: without the annotation the pod's proxy is scraped all the same.
    if scrape.is_some_and(|(_, value)| value.eq_ignore_ascii_case("false") || value == "0") {
        return Ok(None);
    }
    if let Some((name, value)) = port {
        if *value == status_port.to_string() {
            return Ok(None);
        }
        check_port(name, value)?;
    }
    let found = [scrape, path, port].into_iter().flatten();
    let removed: Vec<String> = found.map(|(name, _)| name.clone()).collect();
    let text =
        |entry: Option<(&String, &String)>| entry.map(|(_, v)| v.clone()).unwrap_or_default();
    let application = (!removed.is_empty()).then(|| {
        json!({"scrape": text(scrape), "path": text(path), "port": text(port)}).to_string()
    });
    Ok(Some(Merge {
        application,
        removed,
        added: [
            ("prometheus.io/path", "/stats/prometheus".to_owned()),
            ("prometheus.io/port", status_port.to_string()),
            ("prometheus.io/scrape", "true".to_owned()),
        ],
    }))
}

/// The annotation under any of the spellings that Prometheus takes for the same
/// (`prometheus.io/port`, `prometheus.io.port`, ...).
fn find<'a>(
    annotations: &'a BTreeMap<String, String>,
    label: &str,
) -> Option<(&'a String, &'a String)> {
    let sanitized = |name: &str| -> String {
        let replace = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        name.chars().map(replace).collect()
    };
    annotations
        .iter()
        .find(|(name, _)| sanitized(name) == label)
}

fn check_port(name: &str, value: &str) -> Result<(), InjectError> {
    let error = |problem: &str| {
        Err(InjectError::Annotation {
            name: name.to_owned(),
            value: value.to_owned(),
            problem: problem.to_owned(),
        })
    };
    match value.parse::<u16>() {
        Ok(port) if PROXY_PORTS.contains(&port) => {
            error("the port is the proxy's own; name the application's")
        }
        Ok(port) if port > 0 => Ok(()),
        _ => error("write a port from 1 to 65535"),
    }
}
