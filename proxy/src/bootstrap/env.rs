//! Reading the environment.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::{SpiffeId, TrustDomain};
use serde::Deserialize;
use serde_json::{Value, json};

use super::node::Node;
use super::{
    ADMIN_PORT, AppMetrics, Bootstrap, ControlAddress, METRICS_PORT, READINESS_PORT, Role,
    SECURE_PORT, STATUS_PORT, duration, prober,
};

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A variable that has no default is unset.
    #[error("environment variable {name} is not set; the injector sets it from {source_hint}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// Where it usually comes from.
        source_hint: &'static str,
    },
    /// A variable has a bad value.
    #[error("environment variable {name}={value:?} is not valid: {reason}")]
    Invalid {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where settings come from; a trait so that tests need no real environment.
pub trait Source {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// All variables, for those found by prefix.
    fn variables(&self) -> Vec<(String, String)>;
    /// The text of a file.
    ///
    /// # Errors
    /// The system's error.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// Processors that may be used.
    fn processors(&self) -> usize;
}

struct Process;

impl Source for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Reads the process's environment and files.
///
/// # Errors
/// [`BootstrapError`] that names the variable at fault.
pub fn from_environment(role: Role) -> Result<Bootstrap, BootstrapError> {
    read(role, &Process)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProxyConfig {
    discovery_address: Option<String>,
    concurrency: Option<i64>,
    drain_duration: Option<String>,
    termination_drain_duration: Option<String>,
    service_cluster: Option<String>,
    proxy_admin_port: Option<u16>,
    status_port: Option<u16>,
    proxy_metadata: BTreeMap<String, String>,
}

/// Variables of the process, then those that `proxyMetadata` adds.
struct Variables<'a> {
    source: &'a dyn Source,
    proxy_metadata: BTreeMap<String, String>,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let value = self
            .source
            .variable(name)
            .or_else(|| self.proxy_metadata.get(name).cloned());
        value.filter(|value| !value.is_empty())
    }

    fn required(
        &self,
        name: &'static str,
        source_hint: &'static str,
    ) -> Result<String, BootstrapError> {
        self.get(name)
            .ok_or(BootstrapError::Missing { name, source_hint })
    }

    fn duration(&self, name: &'static str, default: Duration) -> Result<Duration, BootstrapError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => parse_duration(name, &value),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, BootstrapError> {
        match self.get(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(value) => Err(invalid(name, value, "write true or false")),
        }
    }
}

fn invalid(name: &str, value: &str, reason: impl std::fmt::Display) -> BootstrapError {
    BootstrapError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: reason.to_string(),
    }
}

fn parse_duration(name: &str, value: &str) -> Result<Duration, BootstrapError> {
    duration::parse(value)
        .ok_or_else(|| invalid(name, value, "write a duration such as 5s, 1m30s or 24h"))
}

/// Reads all settings.
pub(super) fn read(role: Role, source: &dyn Source) -> Result<Bootstrap, BootstrapError> {
    let config = proxy_config(source)?;
    let variables = Variables {
        source,
        proxy_metadata: config.proxy_metadata.clone(),
    };
    let instance_ip = instance_ip(&variables)?;
    let trust_domain = trust_domain(&variables)?;
    let node = node(role, instance_ip, &variables, &config)?;
    let id = SpiffeId::service_account(&trust_domain, &node.namespace, &node.service_account)
        .map_err(|error| invalid("SERVICE_ACCOUNT", &node.service_account, error))?;
    let discovery = config
        .discovery_address
        .as_deref()
        .unwrap_or("istiod.istio-system.svc:15012");
    let discovery = control_address("PROXY_CONFIG.discoveryAddress", discovery)?;
    let authority = match variables.get("CA_ADDR") {
        Some(address) => control_address("CA_ADDR", &address)?,
        None => authority_beside(&discovery),
    };
    let duration_of = |field: &str, value: Option<&String>, default: u64| match value {
        Some(value) => parse_duration(field, value),
        None => Ok(Duration::from_secs(default)),
    };
    let path = |name: &str, default: &str| {
        PathBuf::from(variables.get(name).unwrap_or_else(|| default.to_owned()))
    };
    let everywhere = |port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    Ok(Bootstrap {
        role,
        id,
        trust_domain,
        instance_ip,
        discovery,
        authority,
        certificate_ttl: variables.duration("SECRET_TTL", Duration::from_secs(24 * 3600))?,
        token_path: path("ISTIO_TOKEN_PATH", "/var/run/secrets/tokens/istio-token"),
        root_cert_path: path(
            "ISTIO_ROOT_CERT_PATH",
            "/var/run/secrets/istio/root-cert.pem",
        ),
        concurrency: concurrency(config.concurrency, source.processors())?,
        // Istio's defaults for both.
        drain: duration_of(
            "PROXY_CONFIG.drainDuration",
            config.drain_duration.as_ref(),
            45,
        )?,
        termination_drain: duration_of(
            "PROXY_CONFIG.terminationDrainDuration",
            config.termination_drain_duration.as_ref(),
            5,
        )?,
        exit_on_zero_connections: variables.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")?,
        minimum_drain: variables.duration("MINIMUM_DRAIN_DURATION", Duration::from_secs(5))?,
        admin: SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            config.proxy_admin_port.unwrap_or(ADMIN_PORT),
        )),
        status: everywhere(config.status_port.unwrap_or(STATUS_PORT)),
        readiness: everywhere(READINESS_PORT),
        metrics: everywhere(METRICS_PORT),
        probers: Arc::new(probers(&variables)?),
        app_metrics: app_metrics(&variables)?,
        log_filter: variables
            .get("MESH_LOG")
            .unwrap_or_else(|| "info".to_owned()),
        node,
    })
}

fn proxy_config(source: &dyn Source) -> Result<ProxyConfig, BootstrapError> {
    match source
        .variable("PROXY_CONFIG")
        .filter(|text| !text.trim().is_empty())
    {
        None => Ok(ProxyConfig::default()),
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| invalid("PROXY_CONFIG", &text, error))
        }
    }
}

fn instance_ip(variables: &Variables<'_>) -> Result<IpAddr, BootstrapError> {
    let text = variables.required("INSTANCE_IP", "the field status.podIP")?;
    text.parse()
        .map_err(|_| invalid("INSTANCE_IP", &text, "write an IP address"))
}

fn trust_domain(variables: &Variables<'_>) -> Result<TrustDomain, BootstrapError> {
    match variables.get("TRUST_DOMAIN") {
        None => Ok(TrustDomain::default()),
        Some(text) => {
            TrustDomain::new(&text).map_err(|error| invalid("TRUST_DOMAIN", &text, error))
        }
    }
}

fn control_address(name: &str, text: &str) -> Result<ControlAddress, BootstrapError> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| ControlAddress::new(host, port))
    });
    parsed.ok_or_else(|| {
        invalid(
            name,
            text,
            "write HOST:PORT, for example istiod.istio-system.svc:15012",
        )
    })
}

/// The authority where none is configured: the control plane itself. The plaintext port serves
/// no certificates, since the token would travel in the open.
fn authority_beside(discovery: &ControlAddress) -> ControlAddress {
    if discovery.uses_tls() {
        return discovery.clone();
    }
    ControlAddress::new(&discovery.host, SECURE_PORT)
}

/// Workers: as configured, 0 for all processors; by default 2, as Istio's sidecars have.
fn concurrency(configured: Option<i64>, processors: usize) -> Result<usize, BootstrapError> {
    match configured {
        None => Ok(processors.clamp(1, 2)),
        Some(0) => Ok(processors.max(1)),
        Some(count) => usize::try_from(count)
            .ok()
            .filter(|count| *count <= 1024)
            .ok_or_else(|| {
                invalid(
                    "PROXY_CONFIG.concurrency",
                    &count.to_string(),
                    "write a number from 0 to 1024",
                )
            }),
    }
}

fn probers(variables: &Variables<'_>) -> Result<BTreeMap<String, prober::Prober>, BootstrapError> {
    match variables.get("ISTIO_KUBE_APP_PROBERS") {
        None => Ok(BTreeMap::new()),
        Some(text) => {
            prober::parse(&text).map_err(|reason| invalid("ISTIO_KUBE_APP_PROBERS", &text, reason))
        }
    }
}

fn app_metrics(variables: &Variables<'_>) -> Result<Option<AppMetrics>, BootstrapError> {
    const NAME: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        scrape: String,
        #[serde(default)]
        path: String,
        #[serde(default)]
        port: String,
    }
    let Some(text) = variables.get(NAME) else {
        return Ok(None);
    };
    let raw: Raw = serde_json::from_str(&text).map_err(|error| invalid(NAME, &text, error))?;
    if raw.scrape != "true" {
        return Ok(None);
    }
    // Istio's defaults: port 80, path /metrics.
    let port = if raw.port.is_empty() { "80" } else { &raw.port };
    let port = port
        .parse()
        .map_err(|_| invalid(NAME, &text, "port must be a number from 1 to 65535"))?;
    let path = match raw.path.as_str() {
        "" => "/metrics".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    // Scraping our own merged endpoint would never end.
    Ok((port != STATUS_PORT).then_some(AppMetrics { port, path }))
}

fn node(
    role: Role,
    ip: IpAddr,
    variables: &Variables<'_>,
    config: &ProxyConfig,
) -> Result<Node, BootstrapError> {
    let pod = variables.required("POD_NAME", "the field metadata.name")?;
    let namespace = variables.required("POD_NAMESPACE", "the field metadata.namespace")?;
    let service_account =
        variables.required("SERVICE_ACCOUNT", "the field spec.serviceAccountName")?;
    let labels = downward(variables.source, "/etc/istio/pod/labels");
    let annotations = downward(variables.source, "/etc/istio/pod/annotations");
    let mut metadata: BTreeMap<String, Value> = variables
        .source
        .variables()
        .into_iter()
        .chain(variables.proxy_metadata.clone())
        .filter_map(|(name, value)| meta_variable(&name, value))
        .collect::<Result<_, _>>()?;
    let text_of = |key: &str, metadata: &BTreeMap<String, Value>| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let workload = Some(text_of("WORKLOAD_NAME", &metadata))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| pod.clone());
    let cluster_id = Some(text_of("CLUSTER_ID", &metadata))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "Kubernetes".to_owned());
    for (key, value) in [
        ("NAME", json!(pod)),
        ("NAMESPACE", json!(namespace)),
        ("SERVICE_ACCOUNT", json!(service_account)),
        ("WORKLOAD_NAME", json!(workload)),
        ("CLUSTER_ID", json!(cluster_id)),
        ("ISTIO_VERSION", json!(env!("CARGO_PKG_VERSION"))),
        ("INSTANCE_IPS", json!(ip.to_string())),
        ("LABELS", json!(labels)),
        ("ANNOTATIONS", json!(annotations)),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    // Pilot reads its part of the proxy's settings from here, as Istio's does.
    let config_text = variables.get("PROXY_CONFIG");
    if let Some(config) = config_text.and_then(|text| serde_json::from_str(&text).ok()) {
        metadata.insert("PROXY_CONFIG".to_owned(), config);
    }
    if let Some(host) = variables.get("HOST_IP") {
        metadata.insert("HOST_IP".to_owned(), json!(host));
    }
    let app = labels
        .get("app")
        .cloned()
        .unwrap_or_else(|| workload.clone());
    let domain = variables
        .get("DNS_DOMAIN")
        .unwrap_or_else(|| "cluster.local".to_owned());
    Ok(Node {
        id: Node::id_of(role, ip, &pod, &namespace, &domain),
        cluster: config
            .service_cluster
            .clone()
            .unwrap_or_else(|| format!("{app}.{namespace}")),
        owner: text_of("OWNER", &metadata),
        mesh_id: text_of("MESH_ID", &metadata),
        pod,
        namespace,
        service_account,
        workload,
        cluster_id,
        labels,
        metadata,
    })
}

/// `ISTIO_META_X=v` is metadata X as text; `ISTIO_METAJSON_X=v` as JSON.
fn meta_variable(name: &str, value: String) -> Option<Result<(String, Value), BootstrapError>> {
    if let Some(key) = name.strip_prefix("ISTIO_META_") {
        return Some(Ok((key.to_owned(), Value::String(value))));
    }
    let key = name.strip_prefix("ISTIO_METAJSON_")?;
    Some(match serde_json::from_str(&value) {
        Ok(parsed) => Ok((key.to_owned(), parsed)),
        Err(error) => Err(invalid(name, &value, error)),
    })
}

/// Lines `key="value"` of a downward-API file, values quoted as Go does; empty if it is absent.
fn downward(source: &dyn Source, path: &str) -> BTreeMap<String, String> {
    let Ok(text) = source.file(Path::new(path)) else {
        return BTreeMap::new();
    };
    text.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            // Go's quoting and JSON's agree on everything that labels and usual annotations hold.
            let value = serde_json::from_str::<String>(quoted)
                .unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}
