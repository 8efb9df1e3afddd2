//! The proxy's container.

use std::collections::BTreeMap;

use mesh_config::ProxyConfig;
use mesh_config::mesh_config::InterceptionMode;
use serde_json::{Value, json};

use crate::annotations::Annotations;
use crate::settings::{Readiness, Resources, Settings};
use crate::workload::Workload;
use crate::{InjectError, PROXY_CONTAINER, pod};

/// User and group of the proxy, whose traffic is not captured.
pub(crate) const PROXY_ID: u64 = 1337;

/// What a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Beside an application.
    Sidecar,
    /// By itself.
    Gateway,
}

/// How the sidecar is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// As an init container that keeps running (Kubernetes 1.29 and later).
    Native,
    /// As a container beside the application's. `hold`: first, and the others wait for it.
    Container {
        /// Whether the application waits.
        hold: bool,
    },
}

impl Readiness {
    /// The settings' timing, under the pod's annotations.
    ///
    /// # Errors
    /// Names the annotation that has a bad value.
    pub(crate) fn read(annotations: &Annotations, base: Readiness) -> Result<Self, InjectError> {
        let number = |suffix: &str, base: u32| {
            let name = format!("readiness.status.sidecar.istio.io/{suffix}");
            Ok::<u32, InjectError>(annotations.number(&name)?.unwrap_or(base))
        };
        Ok(Readiness {
            initial_delay_seconds: number("initialDelaySeconds", base.initial_delay_seconds)?,
            period_seconds: number("periodSeconds", base.period_seconds)?,
            failure_threshold: number("failureThreshold", base.failure_threshold)?,
        })
    }
}

/// What the container is made of.
#[derive(Debug)]
pub(crate) struct ProxyContainer<'a> {
    pub(crate) role: Role,
    pub(crate) placement: Placement,
    pub(crate) image: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) config: &'a ProxyConfig,
    pub(crate) ca_address: &'a str,
    pub(crate) trust_domain: &'a str,
    pub(crate) log_level: Option<&'a str>,
    pub(crate) namespace: &'a str,
    pub(crate) workload: &'a Workload,
    pub(crate) workload_name: &'a str,
    pub(crate) readiness: Readiness,
    pub(crate) resources: &'a Value,
    pub(crate) mounts: &'a [Value],
    /// The pod as its author wrote it.
    pub(crate) pod: &'a Value,
}

impl ProxyContainer<'_> {
    /// The container, without what depends on the application's probes and metrics.
    pub(crate) fn build(&self) -> Value {
        let role = match self.role {
            Role::Sidecar => "sidecar",
            Role::Gateway => "router",
        };
        let mut container = json!({
            "name": PROXY_CONTAINER,
            "image": self.image,
            "args": ["proxy", role],
            "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
            "env": self.environment(),
            "readinessProbe": self.readiness_probe(),
            "resources": self.resources,
            "securityContext": self.security_context(),
            "volumeMounts": self.mounts,
        });
        if self.settings.log_as_json {
            container["args"] = json!(["proxy", role, "--log-as-json"]);
        }
        if let Some(threshold) = self.settings.startup_failure_threshold {
            container["startupProbe"] = startup_probe(threshold);
        }
        if let Some(policy) = &self.settings.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        match self.placement {
            Placement::Native => {
                container["restartPolicy"] = "Always".into();
                // SIGTERM comes only once the application has ended; until then its clients are
                // to be told to go elsewhere.
                container["lifecycle"] =
                    json!({"preStop": {"exec": {"command": ["meshproxy", "drain"]}}});
            }
            Placement::Container { hold: true } => {
                // Containers start in order, each after the hook of the one before.
                container["lifecycle"] =
                    json!({"postStart": {"exec": {"command": ["meshproxy", "wait"]}}});
            }
            Placement::Container { hold: false } => {}
        }
        if let Some(lifecycle) = &self.settings.lifecycle {
            container["lifecycle"] = lifecycle.clone();
        }
        container
    }

    fn security_context(&self) -> Value {
        let privileged = self.settings.privileged;
        let mut context = match self.role {
            Role::Sidecar => json!({
                "allowPrivilegeEscalation": privileged,
                "privileged": privileged,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsUser": PROXY_ID,
                "runAsGroup": PROXY_ID,
                "runAsNonRoot": true,
            }),
            Role::Gateway => json!({"runAsUser": PROXY_ID, "runAsGroup": PROXY_ID}),
        };
        if let Some(profile) = &self.settings.seccomp_profile {
            context["seccompProfile"] = profile.clone();
        }
        context
    }

    fn readiness_probe(&self) -> Value {
        json!({
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "initialDelaySeconds": self.readiness.initial_delay_seconds,
            "periodSeconds": self.readiness.period_seconds,
            "timeoutSeconds": 3,
            "failureThreshold": self.readiness.failure_threshold,
        })
    }

    fn environment(&self) -> Vec<Value> {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let mut env = vec![
            variable("CA_ADDR", self.ca_address),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("INSTANCE_IP", "status.podIP"),
            field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            field("HOST_IP", "status.hostIP"),
            variable("PROXY_CONFIG", &self.config.to_json().to_string()),
            variable("ISTIO_META_POD_PORTS", &self.ports()),
            variable("ISTIO_META_APP_CONTAINERS", &self.container_names()),
            variable("ISTIO_META_CLUSTER_ID", &self.settings.cluster_id),
            field("ISTIO_META_NODE_NAME", "spec.nodeName"),
            variable("ISTIO_META_INTERCEPTION_MODE", self.interception_mode()),
        ];
        if !self.workload_name.is_empty() {
            env.push(variable("ISTIO_META_WORKLOAD_NAME", self.workload_name));
        }
        if let Some(owner) = self.workload.owner(self.namespace) {
            env.push(variable("ISTIO_META_OWNER", &owner));
        }
        let mesh_id = self.config.mesh_id.as_deref().unwrap_or(self.trust_domain);
        env.push(variable("ISTIO_META_MESH_ID", mesh_id));
        env.push(variable("TRUST_DOMAIN", self.trust_domain));
        if let Some(level) = self.log_level {
            env.push(variable("MESH_LOG", level));
        }
        for (name, value) in &self.config.proxy_metadata {
            set_variable(&mut env, name, value);
        }
        env
    }

    fn interception_mode(&self) -> &'static str {
        match self.config.interception_mode {
            InterceptionMode::Redirect => "REDIRECT",
            InterceptionMode::None => "NONE",
        }
    }

    fn container_names(&self) -> String {
        let names: Vec<&str> = pod::applications(self.pod).map(pod::name_of).collect();
        names.join(",")
    }

    /// The ports that the pod declares, as JSON; a gateway's are those of its proxy.
    fn ports(&self) -> String {
        let containers = pod::containers(self.pod, "containers").iter();
        let lists = containers.filter_map(|container| container["ports"].as_array());
        Value::Array(lists.flatten().cloned().collect()).to_string()
    }
}

pub(crate) fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// Sets a variable, in place of one of the same name.
pub(crate) fn set_variable(env: &mut Vec<Value>, name: &str, value: &str) {
    match env.iter_mut().find(|item| item["name"] == name) {
        Some(item) => *item = variable(name, value),
        None => env.push(variable(name, value)),
    }
}

/// Until this succeeds, the application's containers are not started (native) or the readiness
/// probe, which asks too seldom for a start, is not asked.
fn startup_probe(failure_threshold: u32) -> Value {
    json!({
        "httpGet": {"path": "/healthz/ready", "port": 15021},
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        "failureThreshold": failure_threshold,
    })
}

/// Resources of the containers added: those of the annotations, if there are any, else the mesh's.
///
/// # Errors
/// Names the annotation that has a bad value.
pub(crate) fn resources(
    annotations: &Annotations,
    defaults: &Resources,
) -> Result<Value, InjectError> {
    let named = |group: [(&str, &str); 2]| {
        let mut quantities = BTreeMap::new();
        for (resource, annotation) in group {
            if let Some(quantity) = annotations.quantity(annotation)? {
                quantities.insert(resource.to_owned(), quantity);
            }
        }
        Ok::<_, InjectError>(quantities)
    };
    let named = Resources {
        requests: named([
            ("cpu", "sidecar.istio.io/proxyCPU"),
            ("memory", "sidecar.istio.io/proxyMemory"),
        ])?,
        limits: named([
            ("cpu", "sidecar.istio.io/proxyCPULimit"),
            ("memory", "sidecar.istio.io/proxyMemoryLimit"),
        ])?,
    };
    match named.requests.is_empty() && named.limits.is_empty() {
        true => Ok(defaults.to_json()),
        false => Ok(named.to_json()),
    }
}

impl Resources {
    /// As a container has them; empty groups are left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut resources = json!({});
        for (name, group) in [("requests", &self.requests), ("limits", &self.limits)] {
            if !group.is_empty() {
                resources[name] = json!(group);
            }
        }
        resources
    }
}
