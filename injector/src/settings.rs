//! What the injector itself is configured with.

use std::collections::BTreeMap;

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
    /// Whether the proxy is a native sidecar (an init container that keeps running), unless a
    /// pod's annotation `sidecar.istio.io/nativeSidecar` says otherwise.
    pub native_sidecar: bool,
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
            native_sidecar: true,
            control_plane_address: None,
            ca_address: None,
            cluster_id: "Kubernetes".to_owned(),
            rewrite_probes: true,
            resources: Resources::default(),
            capture: CaptureDefaults::default(),
        }
    }
}

/// Resources of a container, as Kubernetes quantities; `None` asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// CPU requested.
    pub cpu: Option<String>,
    /// Memory requested.
    pub memory: Option<String>,
    /// Most CPU.
    pub cpu_limit: Option<String>,
    /// Most memory.
    pub memory_limit: Option<String>,
}

impl Default for Resources {
    /// Istio's defaults (its chart's `global.proxy.resources`).
    fn default() -> Self {
        Resources {
            cpu: Some("100m".to_owned()),
            memory: Some("128Mi".to_owned()),
            cpu_limit: Some("2000m".to_owned()),
            memory_limit: Some("1024Mi".to_owned()),
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
