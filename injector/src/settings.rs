//! What the injector itself is configured with.

mod values;

use std::collections::BTreeMap;

use kube::core::Selector;
use serde_json::Value;

pub use values::ValuesError;

/// A namespace, as far as injection asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels: `istio-injection` and `istio.io/rev` decide.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Settings of the injector; [`Default`] gives Istio's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the proxy, unless a pod's annotation `sidecar.istio.io/proxyImage` names another.
    pub proxy_image: String,
    /// `imagePullPolicy` of the containers added; `None` leaves it to Kubernetes.
    pub image_pull_policy: Option<String>,
    /// Secrets that pods need to pull the image.
    pub image_pull_secrets: Vec<String>,
    /// Revision of this control plane; `default` also serves the label `istio-injection`.
    pub revision: String,
    /// Whether namespaces without any label are injected.
    pub inject_by_default: bool,
    /// Whether pods that say nothing are injected once they are selected (`autoInject`).
    pub auto_inject: bool,
    /// Pods that say nothing are not injected if one of these matches their labels...
    pub never_inject: Vec<Selector>,
    /// ...and are, whatever [`Settings::auto_inject`] says, if one of these does.
    pub always_inject: Vec<Selector>,
    /// Whether the proxy is a native sidecar (an init container that keeps running), unless a
    /// pod's annotation `sidecar.istio.io/nativeSidecar` says otherwise; `None` means yes, and
    /// leaves it to [`crate::watch_inputs`] to find out whether the cluster has them.
    pub native_sidecar: Option<bool>,
    /// Address of the control plane, `HOST:PORT`, in place of MeshConfig's `discoveryAddress`; a
    /// pod's annotation `proxy.istio.io/config` wins over both.
    pub control_plane_address: Option<String>,
    /// Address of the certificate authority; `None` means that of the control plane.
    pub ca_address: Option<String>,
    /// Id of the cluster.
    pub cluster_id: String,
    /// Whether probes of the application go through the proxy, unless a pod's annotation
    /// `sidecar.istio.io/rewriteAppHTTPProbers` says otherwise.
    pub rewrite_probes: bool,
    /// Resources of the proxy, unless a pod's annotations name any.
    pub resources: Resources,
    /// Resources of the capture container; `None` means those of the proxy.
    pub init_resources: Option<Resources>,
    /// Level of the proxy's log, unless a pod's annotation says otherwise; `None`: the proxy's own.
    pub log_level: Option<&'static str>,
    /// Whether the proxy's log is JSON.
    pub log_as_json: bool,
    /// Whether the containers added are privileged.
    pub privileged: bool,
    /// `seccompProfile` of the containers added.
    pub seccomp_profile: Option<Value>,
    /// `lifecycle` of the proxy's container, in place of ours.
    pub lifecycle: Option<Value>,
    /// Port of merged metrics and probes, in place of ProxyConfig's; a pod's annotations win.
    pub status_port: Option<u16>,
    /// The readiness probe, unless a pod's annotations say otherwise.
    pub readiness: Readiness,
    /// How many seconds the proxy may take to start; `None` means there is no startup probe.
    pub startup_failure_threshold: Option<u32>,
    /// Annotations added to every injected pod.
    pub injected_annotations: BTreeMap<String, String>,
    /// What is captured, unless a pod's annotations say otherwise.
    pub capture: CaptureDefaults,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            proxy_image: "meshproxy:latest".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            revision: "default".to_owned(),
            inject_by_default: false,
            auto_inject: true,
            never_inject: Vec::new(),
            always_inject: Vec::new(),
            native_sidecar: None,
            control_plane_address: None,
            ca_address: None,
            cluster_id: "Kubernetes".to_owned(),
            rewrite_probes: true,
            resources: Resources::default(),
            init_resources: None,
            log_level: None,
            log_as_json: false,
            privileged: false,
            seccomp_profile: None,
            lifecycle: None,
            status_port: None,
            readiness: Readiness::default(),
            // 10 minutes, as in Istio.
            startup_failure_threshold: Some(600),
            injected_annotations: BTreeMap::new(),
            capture: CaptureDefaults::default(),
        }
    }
}

impl Settings {
    /// Lays the chart's values over `base` (names and meaning are those of Istio's chart).
    ///
    /// `text`: YAML, the key `values` of ConfigMap `istio-sidecar-injector`.
    ///
    /// # Errors
    /// [`ValuesError`] names the value that is wrong.
    pub fn from_values(text: &str, base: &Settings) -> Result<Settings, ValuesError> {
        values::read(text, base)
    }
}

/// Resources of a container: quantities by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// What is set aside.
    pub requests: BTreeMap<String, String>,
    /// What is not exceeded.
    pub limits: BTreeMap<String, String>,
}

impl Default for Resources {
    /// Istio's defaults (its chart's `global.proxy.resources`).
    fn default() -> Self {
        let group = |cpu: &str, memory: &str| {
            let entries = [("cpu", cpu), ("memory", memory)];
            entries
                .map(|(name, quantity)| (name.to_owned(), quantity.to_owned()))
                .into()
        };
        Resources {
            requests: group("100m", "128Mi"),
            limits: group("2000m", "1024Mi"),
        }
    }
}

/// Timing of the proxy's readiness probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Seconds before the first.
    pub initial_delay_seconds: u32,
    /// Seconds between two.
    pub period_seconds: u32,
    /// How many failures make the proxy unready.
    pub failure_threshold: u32,
}

impl Default for Readiness {
    /// Istio's defaults.
    fn default() -> Self {
        Readiness {
            initial_delay_seconds: 0,
            period_seconds: 15,
            failure_threshold: 4,
        }
    }
}

/// Defaults of the annotations `traffic.sidecar.istio.io/...`, in their syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureDefaults {
    /// `includeInboundPorts`.
    pub include_inbound_ports: String,
    /// `excludeInboundPorts`.
    pub exclude_inbound_ports: String,
    /// `includeOutboundIPRanges`.
    pub include_outbound_ip_ranges: String,
    /// `excludeOutboundIPRanges`.
    pub exclude_outbound_ip_ranges: String,
    /// `includeOutboundPorts`.
    pub include_outbound_ports: String,
    /// `excludeOutboundPorts`.
    pub exclude_outbound_ports: String,
}

impl Default for CaptureDefaults {
    fn default() -> Self {
        CaptureDefaults {
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            include_outbound_ip_ranges: "*".to_owned(),
            exclude_outbound_ip_ranges: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
        }
    }
}
