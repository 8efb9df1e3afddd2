//! The init container that redirects the pod's traffic to the proxy.

use mesh_config::mesh_config::InterceptionMode;
use serde_json::{Value, json};

use crate::annotations::Annotations;
use crate::settings::{CaptureDefaults, Resources, Settings};
use crate::{INIT_CONTAINER, InjectError};

/// Ports of the proxy's own that are never captured: metrics and readiness.
const OWN_PORTS: [&str; 2] = ["15090", "15021"];

/// What is captured, in the syntax of the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    include_inbound_ports: String,
    exclude_inbound_ports: String,
    include_outbound_ip_ranges: String,
    exclude_outbound_ip_ranges: String,
    include_outbound_ports: String,
    exclude_outbound_ports: String,
    /// Interfaces of virtual machines, whose inbound traffic is the pod's outbound.
    virtual_interfaces: String,
    exclude_interfaces: String,
}

/// The older and the newer name of one annotation.
const VIRTUAL_INTERFACES: [&str; 2] = [
    "traffic.sidecar.istio.io/kubevirtInterfaces",
    "istio.io/reroute-virtual-interfaces",
];

impl Capture {
    /// Reads and checks the annotations `traffic.sidecar.istio.io/...`.
    ///
    /// # Errors
    /// Names the annotation that has a bad value.
    pub(crate) fn read(
        annotations: &Annotations,
        defaults: &CaptureDefaults,
    ) -> Result<Capture, InjectError> {
        let or = |found: Option<String>, default: &String| found.unwrap_or_else(|| default.clone());
        let name = |suffix: &str| format!("traffic.sidecar.istio.io/{suffix}");
        let [older, newer] = VIRTUAL_INTERFACES.map(|name| annotations.interfaces(name));
        Ok(Capture {
            include_inbound_ports: or(
                annotations.ports_or_all(&name("includeInboundPorts"))?,
                &defaults.include_inbound_ports,
            ),
            exclude_inbound_ports: or(
                annotations.ports(&name("excludeInboundPorts"))?,
                &defaults.exclude_inbound_ports,
            ),
            include_outbound_ip_ranges: or(
                annotations.ranges_or_all(&name("includeOutboundIPRanges"))?,
                &defaults.include_outbound_ip_ranges,
            ),
            exclude_outbound_ip_ranges: or(
                annotations.ranges(&name("excludeOutboundIPRanges"))?,
                &defaults.exclude_outbound_ip_ranges,
            ),
            include_outbound_ports: or(
                annotations.ports_or_all(&name("includeOutboundPorts"))?,
                &defaults.include_outbound_ports,
            ),
            exclude_outbound_ports: or(
                annotations.ports(&name("excludeOutboundPorts"))?,
                &defaults.exclude_outbound_ports,
            ),
            virtual_interfaces: newer?.or(older?).unwrap_or_default(),
            exclude_interfaces: annotations
                .interfaces(&name("excludeInterfaces"))?
                .unwrap_or_default(),
        })
    }

    /// The arguments of `meshproxy capture`: the flags of Istio's `istio-iptables`.
    fn arguments(&self, mode: InterceptionMode, status_port: u16, proxy_uid: u64) -> Vec<String> {
        let mode = match mode {
            InterceptionMode::Redirect => "REDIRECT",
            InterceptionMode::None => "NONE",
        };
        let flags = [
            ("-p", "15001".to_owned()),
            ("-z", "15006".to_owned()),
            ("-u", proxy_uid.to_string()),
            ("-m", mode.to_owned()),
            ("-i", self.include_outbound_ip_ranges.clone()),
            ("-x", self.exclude_outbound_ip_ranges.clone()),
            ("-b", self.include_inbound_ports.clone()),
            ("-d", self.excluded_inbound(status_port)),
        ];
        let optional = [
            ("-q", self.include_outbound_ports.clone()),
            ("-o", self.exclude_outbound_ports.clone()),
            ("-k", self.virtual_interfaces.clone()),
            ("-c", self.exclude_interfaces.clone()),
        ];
        let optional = optional.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs = flags.into_iter().chain(optional);
        let mut arguments = vec!["capture".to_owned()];
        for (flag, value) in pairs {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments
    }

    /// The proxy's own ports, the user's, and that of merged metrics and probes; each once.
    fn excluded_inbound(&self, status_port: u16) -> String {
        let status = status_port.to_string();
        let mut ports: Vec<&str> = OWN_PORTS.to_vec();
        let user = self
            .exclude_inbound_ports
            .split(',')
            .filter(|port| !port.is_empty());
        for port in user.chain([status.as_str()]) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports.join(",")
    }
}

/// What the init container is made of.
#[derive(Debug)]
pub(crate) struct InitContainer<'a> {
    pub(crate) capture: &'a Capture,
    pub(crate) image: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) mode: InterceptionMode,
    pub(crate) status_port: u16,
    /// User id whose traffic is the proxy's own.
    pub(crate) proxy_uid: u64,
    /// Those of the proxy, which stand if the settings name none for this container.
    pub(crate) resources: &'a Value,
}

impl InitContainer<'_> {
    /// The container. It is root, with just the capabilities to change the pod's own network.
    pub(crate) fn build(&self) -> Value {
        let privileged = self.settings.privileged;
        let resources = self.settings.init_resources.as_ref();
        let mut container = json!({
            "name": INIT_CONTAINER,
            "image": self.image,
            "args": self.capture.arguments(self.mode, self.status_port, self.proxy_uid),
            "resources": resources.map_or_else(|| self.resources.clone(), Resources::to_json),
            "securityContext": {
                "allowPrivilegeEscalation": privileged,
                "privileged": privileged,
                "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": false,
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
            },
        });
        if let Some(profile) = &self.settings.seccomp_profile {
            container["securityContext"]["seccompProfile"] = profile.clone();
        }
        if let Some(policy) = &self.settings.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        container
    }
}
