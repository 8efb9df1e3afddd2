//! The chart's values, as ConfigMap `istio-sidecar-injector` holds them under the key `values`.
//!
//! Names and meaning are Istio's (its chart `istiod`). Only what injection depends on is read; the
//! chart's schema has refused unknown values before they came here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use mesh_config::ProxyConfig;
use serde::Deserialize;
use serde_json::Value;

use super::{CaptureDefaults, Resources, Settings};
use crate::annotations;

/// Values that are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ValuesError {
    /// Path of the value, for example `global.proxy.logLevel`.
    pub path: String,
    /// What is wrong, and what to write.
    pub problem: String,
}

fn error(path: &str, problem: impl Into<String>) -> ValuesError {
    ValuesError {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Values {
    global: Global,
    sidecar_injector_webhook: Webhook,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Global {
    hub: Option<String>,
    tag: Option<Scalar>,
    image_pull_policy: Option<String>,
    image_pull_secrets: Vec<PullSecret>,
    ca_address: Option<String>,
    log_as_json: Option<bool>,
    multi_cluster: MultiCluster,
    proxy: Proxy,
    #[serde(rename = "proxy_init")]
    proxy_init: ProxyInit,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MultiCluster {
    cluster_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Proxy {
    image: Option<String>,
    auto_inject: Option<String>,
    resources: Option<ResourceValues>,
    log_level: Option<String>,
    privileged: Option<bool>,
    seccomp_profile: Option<Value>,
    lifecycle: Option<Value>,
    status_port: Option<u16>,
    readiness_initial_delay_seconds: Option<u32>,
    readiness_period_seconds: Option<u32>,
    readiness_failure_threshold: Option<u32>,
    startup_probe: StartupProbe,
    #[serde(rename = "includeIPRanges")]
    include_ip_ranges: Option<Scalar>,
    #[serde(rename = "excludeIPRanges")]
    exclude_ip_ranges: Option<Scalar>,
    include_inbound_ports: Option<Scalar>,
    exclude_inbound_ports: Option<Scalar>,
    include_outbound_ports: Option<Scalar>,
    exclude_outbound_ports: Option<Scalar>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StartupProbe {
    enabled: Option<bool>,
    failure_threshold: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProxyInit {
    resources: Option<ResourceValues>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Webhook {
    #[serde(rename = "rewriteAppHTTPProbe")]
    rewrite_app_http_probe: Option<bool>,
    enable_namespaces_by_default: Option<bool>,
    native_sidecars: Option<bool>,
    never_inject_selector: Vec<LabelSelector>,
    always_inject_selector: Vec<LabelSelector>,
    injected_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResourceValues {
    requests: BTreeMap<String, Scalar>,
    limits: BTreeMap<String, Scalar>,
}

/// A text that YAML takes for a number if nobody quotes it (`tag: 1.0`, `cpu: 1`).
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
        }
    }
}

/// A secret's name, or an object with one.
#[derive(Deserialize)]
#[serde(untagged)]
enum PullSecret {
    Name(String),
    Reference { name: String },
}

/// Lays the values over `base`; what they leave open stays.
pub(super) fn read(text: &str, base: &Settings) -> Result<Settings, ValuesError> {
    let yaml = serde_yaml::Deserializer::from_str(text);
    let values: Option<Values> = serde_path_to_error::deserialize(yaml)
        .map_err(|found| error(&found.path().to_string(), found.inner().to_string()))?;
    let Values {
        global,
        sidecar_injector_webhook: webhook,
    } = values.unwrap_or_default();
    let mut settings = base.clone();
    set(&mut settings.auto_inject, auto_inject(&global.proxy)?);
    image(&global, &mut settings)?;
    proxy(global.proxy, &mut settings)?;
    if let Some(resources) = global.proxy_init.resources {
        let resources = quantities(resources, "global.proxy_init.resources")?;
        // The chart's default, an empty object, says nothing.
        let empty = resources.requests.is_empty() && resources.limits.is_empty();
        settings.init_resources = (!empty).then_some(resources);
    }
    set(&mut settings.log_as_json, global.log_as_json);
    if let Some(name) = global.multi_cluster.cluster_name.filter(|n| !n.is_empty()) {
        settings.cluster_id = name;
    }
    if let Some(address) = global.ca_address.filter(|address| !address.is_empty()) {
        settings.ca_address = Some(address);
    }
    set(&mut settings.rewrite_probes, webhook.rewrite_app_http_probe);
    set(
        &mut settings.inject_by_default,
        webhook.enable_namespaces_by_default,
    );
    settings.native_sidecar = webhook.native_sidecars.or(settings.native_sidecar);
    let path = "sidecarInjectorWebhook";
    settings.never_inject = selectors(
        webhook.never_inject_selector,
        &format!("{path}.neverInjectSelector"),
    )?;
    settings.always_inject = selectors(
        webhook.always_inject_selector,
        &format!("{path}.alwaysInjectSelector"),
    )?;
    settings.injected_annotations = webhook.injected_annotations;
    Ok(settings)
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn auto_inject(proxy: &Proxy) -> Result<Option<bool>, ValuesError> {
    match proxy.auto_inject.as_deref() {
        None => Ok(None),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(other) => Err(error(
            "global.proxy.autoInject",
            format!("{other:?} is neither enabled nor disabled"),
        )),
    }
}

/// `HUB/IMAGE:TAG`, or the image alone if it has a path of its own.
fn image(global: &Global, settings: &mut Settings) -> Result<(), ValuesError> {
    let image = global.proxy.image.as_deref().filter(|i| !i.is_empty());
    let image = image.unwrap_or("meshproxy");
    let tag = global.tag.clone().map(Scalar::into_text);
    match (image.contains('/'), global.hub.as_deref(), tag) {
        (true, ..) => settings.proxy_image = image.to_owned(),
        (false, Some(hub), Some(tag)) if !hub.is_empty() && !tag.is_empty() => {
            settings.proxy_image = format!("{}/{image}:{tag}", hub.trim_end_matches('/'));
        }
        // Neither is said: the base's stands.
        (false, None, None) if global.proxy.image.is_none() => {}
        _ => {
            return Err(error(
                "global",
                "set hub and tag, from which the proxy's image is pulled",
            ));
        }
    }
    const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
    match global.image_pull_policy.as_deref().unwrap_or_default() {
        "" => {}
        policy if POLICIES.contains(&policy) => {
            settings.image_pull_policy = Some(policy.to_owned());
        }
        other => {
            let problem = format!("{other:?} is none of {}", POLICIES.join(", "));
            return Err(error("global.imagePullPolicy", problem));
        }
    }
    let secrets = global.image_pull_secrets.iter().map(|secret| match secret {
        PullSecret::Name(name) | PullSecret::Reference { name } => name.clone(),
    });
    settings.image_pull_secrets = secrets.collect();
    Ok(())
}

fn proxy(values: Proxy, settings: &mut Settings) -> Result<(), ValuesError> {
    capture(&values, &mut settings.capture)?;
    if let Some(resources) = values.resources {
        settings.resources = quantities(resources, "global.proxy.resources")?;
    }
    if let Some(level) = values.log_level.filter(|level| !level.is_empty()) {
        let read = annotations::log_level(&level);
        let level = read.map_err(|problem| error("global.proxy.logLevel", problem))?;
        settings.log_level = Some(level);
    }
    set(&mut settings.privileged, values.privileged);
    let object = |value: &Value| value.as_object().is_some_and(|fields| !fields.is_empty());
    settings.seccomp_profile = values.seccomp_profile.filter(object);
    settings.lifecycle = values.lifecycle.filter(object);
    // The chart always says something; its default leaves the choice to MeshConfig.
    let default = ProxyConfig::default().status_port.get();
    let port = values.status_port.filter(|port| *port != default);
    settings.status_port = port.or(settings.status_port);
    let timing = &mut settings.readiness;
    let delay = values.readiness_initial_delay_seconds;
    set(&mut timing.initial_delay_seconds, delay);
    set(&mut timing.period_seconds, values.readiness_period_seconds);
    let failures = values.readiness_failure_threshold;
    set(&mut timing.failure_threshold, failures);
    let StartupProbe {
        enabled,
        failure_threshold,
    } = values.startup_probe;
    settings.startup_failure_threshold = match enabled {
        Some(false) => None,
        _ => failure_threshold.or(settings.startup_failure_threshold),
    };
    Ok(())
}

fn capture(values: &Proxy, capture: &mut CaptureDefaults) -> Result<(), ValuesError> {
    let set = |slot: &mut String, name: &str, value: &Option<Scalar>, check: Check| {
        let Some(value) = value else { return Ok(()) };
        let checked = check(&value.clone().into_text());
        *slot = checked.map_err(|problem| error(&format!("global.proxy.{name}"), problem))?;
        Ok(())
    };
    let slot = &mut capture.include_outbound_ip_ranges;
    let value = &values.include_ip_ranges;
    set(slot, "includeIPRanges", value, annotations::ranges_or_all)?;
    let slot = &mut capture.exclude_outbound_ip_ranges;
    let value = &values.exclude_ip_ranges;
    set(slot, "excludeIPRanges", value, annotations::ranges)?;
    let slot = &mut capture.include_inbound_ports;
    let value = &values.include_inbound_ports;
    set(
        slot,
        "includeInboundPorts",
        value,
        annotations::ports_or_all,
    )?;
    let slot = &mut capture.exclude_inbound_ports;
    let value = &values.exclude_inbound_ports;
    set(slot, "excludeInboundPorts", value, annotations::ports)?;
    let slot = &mut capture.include_outbound_ports;
    let value = &values.include_outbound_ports;
    set(
        slot,
        "includeOutboundPorts",
        value,
        annotations::ports_or_all,
    )?;
    let slot = &mut capture.exclude_outbound_ports;
    let value = &values.exclude_outbound_ports;
    set(slot, "excludeOutboundPorts", value, annotations::ports)
}

/// Gives a text in its normal form, or what is wrong with it.
type Check = fn(&str) -> Result<String, String>;

fn quantities(values: ResourceValues, path: &str) -> Result<Resources, ValuesError> {
    let group = |quantities: BTreeMap<String, Scalar>, group: &str| {
        let checked = quantities.into_iter().map(|(name, quantity)| {
            let checked = annotations::quantity(&quantity.into_text());
            let checked = checked.map_err(|p| error(&format!("{path}.{group}.{name}"), p))?;
            Ok((name, checked))
        });
        checked.collect::<Result<BTreeMap<_, _>, ValuesError>>()
    };
    Ok(Resources {
        requests: group(values.requests, "requests")?,
        limits: group(values.limits, "limits")?,
    })
}

fn selectors(values: Vec<LabelSelector>, path: &str) -> Result<Vec<Selector>, ValuesError> {
    let read = |(index, value): (usize, LabelSelector)| {
        let path = format!("{path}[{index}]");
        match Selector::try_from(value) {
            Ok(selector) if selector.selects_all() => Err(error(
                &path,
                "an empty selector matches every pod; name labels, or remove it",
            )),
            Ok(selector) => Ok(selector),
            Err(problem) => Err(error(&path, problem.to_string())),
        }
    };
    values.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests;
