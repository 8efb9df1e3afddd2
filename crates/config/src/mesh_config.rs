//! MeshConfig and ProxyConfig: settings of the whole mesh and of one proxy.
//!
//! Source: Istio API `mesh/v1alpha1/config.proto` and `proxy.proto`; defaults as Istio's
//! `DefaultMeshConfig`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::destination_rule::TcpKeepalive;
use crate::number::{Percent, PortNumber};
use crate::sidecar::OutboundMode;
use crate::virtual_service::HttpRetry;
use crate::visibility::DefaultExport;

/// Settings of the whole mesh (ConfigMap `istio`, key `mesh`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MeshConfig {
    /// File of the access log (`/dev/stdout`); `None` turns it off.
    pub access_log_file: Option<String>,
    /// Format: text, or (for JSON) an object of fields; `None` means Istio's default.
    pub access_log_format: Option<String>,
    /// Text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// What happens to traffic to unknown destinations.
    pub outbound_traffic_policy: OutboundMode,
    /// What happens to inbound traffic to ports no service names.
    pub inbound_traffic_policy: InboundMode,
    /// Trust domain of the mesh's identities.
    pub trust_domain: String,
    /// Other trust domains whose identities count as the mesh's own.
    pub trust_domain_aliases: Vec<String>,
    /// Settings of every proxy, unless a pod overrides them.
    pub default_config: ProxyConfig,
    /// Whether clients use mesh mTLS wherever the server can.
    pub enable_auto_mtls: bool,
    /// Namespace whose policies hold for the whole mesh.
    pub root_namespace: String,
    /// Time to wait for the first bytes of an undeclared protocol; zero waits for ever.
    pub protocol_detection_timeout: Duration,
    /// Retries of routes that name none; `None` means Istio's default.
    pub default_http_retry_policy: Option<HttpRetry>,
    /// Time to connect to an endpoint.
    pub connect_timeout: Duration,
    /// Time between DNS queries.
    pub dns_refresh_rate: Duration,
    /// Keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Whether HTTP/1.1 is sent as HTTP/2 where a DestinationRule says nothing.
    pub h2_upgrade: bool,
    /// Whether proxies trace requests.
    pub enable_tracing: bool,
    /// Whether the sidecar merges the application's metrics into its own.
    pub enable_prometheus_merge: bool,
    /// `exportTo` of services that carry none.
    pub default_service_export_to: DefaultExport,
    /// `exportTo` of VirtualServices that carry none.
    pub default_virtual_service_export_to: DefaultExport,
    /// `exportTo` of DestinationRules that carry none.
    pub default_destination_rule_export_to: DefaultExport,
    /// How paths are brought into a normal form before they are matched.
    pub path_normalization: PathNormalization,
}

/// Encoding of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AccessLogEncoding {
    /// Text.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// What happens to inbound traffic to ports no service names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum InboundMode {
    /// To the pod's address.
    #[default]
    Passthrough,
    /// To the loopback address.
    Localhost,
}

/// How paths are normalized before they are matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PathNormalization {
    /// Not at all.
    None,
    /// RFC 3986 (`..`, `.`, backslashes). Istio's default.
    #[default]
    Base,
    /// Also `//` becomes `/`.
    MergeSlashes,
    /// Also `%2F` and `%5C` become slashes first.
    DecodeAndMergeSlashes,
}

/// Settings of one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyConfig {
    /// Address of the control plane, `HOST:PORT`.
    pub discovery_address: String,
    /// Number of workers; `None` means by the CPU limit, `Some(0)` one per CPU.
    pub concurrency: Option<u32>,
    /// Environment and node metadata of the proxy.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Time that old listeners drain when configuration changes.
    pub drain_duration: Duration,
    /// Time that the proxy drains before it exits.
    pub termination_drain_duration: Duration,
    /// Whether the application starts only after the proxy is ready.
    pub hold_application_until_proxy_starts: bool,
    /// Tracing.
    pub tracing: Tracing,
    /// How traffic is captured.
    pub interception_mode: InterceptionMode,
    /// Port of the proxy's admin interface.
    pub proxy_admin_port: PortNumber,
    /// Port of merged metrics and probes.
    pub status_port: PortNumber,
    /// Name of the proxy's service in traces; `None` means by label and namespace.
    pub service_cluster: Option<String>,
    /// Id of the mesh; `None` means the trust domain.
    pub mesh_id: Option<String>,
    /// Trusted proxies in front of a gateway (`gatewayTopology.numTrustedProxies`).
    pub trusted_proxies: u32,
}

/// Tracing of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tracing {
    /// Share of the requests that are traced (1 % by default).
    pub sampling: Percent,
}

/// How traffic is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum InterceptionMode {
    /// By redirection.
    #[default]
    Redirect,
    /// Not at all.
    None,
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig {
            access_log_file: None,
            access_log_format: None,
            access_log_encoding: AccessLogEncoding::Text,
            outbound_traffic_policy: OutboundMode::AllowAny,
            inbound_traffic_policy: InboundMode::Passthrough,
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            default_config: ProxyConfig::default(),
            enable_auto_mtls: true,
            root_namespace: "istio-system".to_owned(),
            protocol_detection_timeout: Duration::ZERO,
            default_http_retry_policy: None,
            connect_timeout: Duration::from_secs(10),
            dns_refresh_rate: Duration::from_secs(60),
            tcp_keepalive: None,
            h2_upgrade: false,
            enable_tracing: true,
            enable_prometheus_merge: true,
            default_service_export_to: DefaultExport::All,
            default_virtual_service_export_to: DefaultExport::All,
            default_destination_rule_export_to: DefaultExport::All,
            path_normalization: PathNormalization::Base,
        }
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        let port = |number| PortNumber::new(number).expect("a constant above 0");
        ProxyConfig {
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            concurrency: None,
            proxy_metadata: BTreeMap::new(),
            drain_duration: Duration::from_secs(45),
            termination_drain_duration: Duration::from_secs(5),
            hold_application_until_proxy_starts: false,
            tracing: Tracing::default(),
            interception_mode: InterceptionMode::Redirect,
            proxy_admin_port: port(15000),
            status_port: port(15020),
            service_cluster: None,
            mesh_id: None,
            trusted_proxies: 0,
        }
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing {
            sampling: Percent::new(1.0).expect("within 0 to 100"),
        }
    }
}

impl ProxyConfig {
    /// The configuration in the JSON form of Istio's API, as sidecars get it in the environment
    /// variable `PROXY_CONFIG`. Decoding it over the defaults gives the configuration back.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "discoveryAddress": self.discovery_address,
            "proxyMetadata": self.proxy_metadata,
            "drainDuration": seconds(self.drain_duration),
            "terminationDrainDuration": seconds(self.termination_drain_duration),
            "holdApplicationUntilProxyStarts": self.hold_application_until_proxy_starts,
            "tracing": {"sampling": self.tracing.sampling.as_f64()},
            "interceptionMode": match self.interception_mode {
                InterceptionMode::Redirect => "REDIRECT",
                InterceptionMode::None => "NONE",
            },
            "proxyAdminPort": self.proxy_admin_port.get(),
            "statusPort": self.status_port.get(),
        });
        if let Some(concurrency) = self.concurrency {
            json["concurrency"] = concurrency.into();
        }
        if let Some(name) = &self.service_cluster {
            json["serviceCluster"] = name.as_str().into();
        }
        if let Some(id) = &self.mesh_id {
            json["meshId"] = id.as_str().into();
        }
        if self.trusted_proxies > 0 {
            json["gatewayTopology"] =
                serde_json::json!({"numTrustedProxies": self.trusted_proxies});
        }
        json
    }
}

/// protobuf's JSON form of a duration: seconds with a fraction.
fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match duration.subsec_nanos() {
        0 => format!("{whole}s"),
        nanos => format!("{whole}.{}s", format!("{nanos:09}").trim_end_matches('0')),
    }
}
