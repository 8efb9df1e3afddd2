//! Making settings of the variables.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::{SpiffeId, TrustDomain};
use serde::Deserialize;

use super::super::{
    ADMIN_PORT, AppMetrics, Bootstrap, ControlAddress, METRICS_PORT, READINESS_PORT, Role,
    SECURE_PORT, STATUS_PORT, prober,
};
use super::{BootstrapError, Source, Variables, identity, invalid, parse_duration};

const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const ROOT_CERT: &str = "/var/run/secrets/istio/root-cert.pem";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProxyConfig {
    discovery_address: Option<String>,
    concurrency: Option<i64>,
    drain_duration: Option<String>,
    termination_drain_duration: Option<String>,
    pub(super) service_cluster: Option<String>,
    proxy_admin_port: Option<u16>,
    status_port: Option<u16>,
    proxy_metadata: BTreeMap<String, String>,
}

/// Reads all settings.
pub(crate) fn read(role: Role, source: &dyn Source) -> Result<Bootstrap, BootstrapError> {
    let config = proxy_config(source)?;
    let variables = Variables {
        source,
        proxy_metadata: config.proxy_metadata.clone(),
    };
    let instance_ip = instance_ip(&variables)?;
    let trust_domain = trust_domain(&variables)?;
    let node = identity::node(role, instance_ip, &variables, &config)?;
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
    let times = Times::read(&config, &variables)?;
    let path = |name: &str, default: &str| {
        PathBuf::from(variables.get(name).unwrap_or_else(|| default.to_owned()))
    };
    let port = |configured: Option<u16>, default: u16| configured.unwrap_or(default);
    let everywhere = |port: u16| match instance_ip {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
    };
    Ok(Bootstrap {
        role,
        id,
        trust_domain,
        instance_ip,
        discovery,
        authority,
        certificate_ttl: times.certificate_ttl,
        token_path: path("ISTIO_TOKEN_PATH", TOKEN),
        root_cert_path: path("ISTIO_ROOT_CERT_PATH", ROOT_CERT),
        concurrency: concurrency(config.concurrency, source.processors())?,
        drain: times.drain,
        termination_drain: times.termination_drain,
        exit_on_zero_connections: variables.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")?,
        minimum_drain: times.minimum_drain,
        admin: SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            port(config.proxy_admin_port, ADMIN_PORT),
        )),
        status: everywhere(port(config.status_port, STATUS_PORT)),
        readiness: everywhere(variables.port("ENVOY_STATUS_PORT", READINESS_PORT)?),
        metrics: everywhere(variables.port("ENVOY_PROMETHEUS_PORT", METRICS_PORT)?),
        probers: Arc::new(probers(&variables)?),
        app_metrics: app_metrics(&variables)?,
        log_filter: variables
            .get("MESH_LOG")
            .unwrap_or_else(|| "info".to_owned()),
        node,
    })
}

struct Times {
    certificate_ttl: Duration,
    drain: Duration,
    termination_drain: Duration,
    minimum_drain: Duration,
}

impl Times {
    /// Reads all durations; the defaults are Istio's.
    fn read(config: &ProxyConfig, variables: &Variables<'_>) -> Result<Self, BootstrapError> {
        let field = |name: &str, value: &Option<String>, seconds: u64| match value {
            Some(value) => parse_duration(name, value),
            None => Ok(Duration::from_secs(seconds)),
        };
        let variable = |name, seconds| variables.duration(name, Duration::from_secs(seconds));
        Ok(Self {
            certificate_ttl: variable("SECRET_TTL", 24 * 3600)?,
            drain: field("PROXY_CONFIG.drainDuration", &config.drain_duration, 45)?,
            termination_drain: field(
                "PROXY_CONFIG.terminationDrainDuration",
                &config.termination_drain_duration,
                5,
            )?,
            minimum_drain: variable("MINIMUM_DRAIN_DURATION", 5)?,
        })
    }
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
