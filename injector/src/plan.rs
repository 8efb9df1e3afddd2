//! What injection will do to one pod: everything is read and checked before anything is changed.

use mesh_config::mesh_config::InterceptionMode;
use mesh_config::{PortNumber, ProxyConfig};
use serde_json::{Value, json};

use crate::annotations::{Annotations, PROXY_CONFIG, STATUS};
use crate::capture::{Capture, InitContainer};
use crate::metadata::{self, Added};
use crate::settings::Readiness;
use crate::sidecar::{self, PROXY_ID, Placement, ProxyContainer, Role, variable};
use crate::volumes::{self, UserVolumes};
use crate::workload::Workload;
use crate::{
    Context, INIT_CONTAINER, InjectError, PROXY_CONTAINER, again, annotations, image, overlay, pod,
    probes, prometheus,
};

/// The choices for one pod.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    context: &'a Context<'a>,
    annotations: Annotations,
    role: Role,
    placement: Placement,
    config: ProxyConfig,
    capture: Capture,
    image: String,
    resources: Value,
    volumes: Vec<Value>,
    mounts: Vec<Value>,
    readiness: Readiness,
    log_level: Option<&'static str>,
    rewrite_probes: bool,
    merge_metrics: bool,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// The pod is not one, or an annotation has a bad value.
    pub(crate) fn read(pod: &Value, context: &'a Context<'a>) -> Result<Self, InjectError> {
        check_shape(pod)?;
        let annotations = Annotations::new(pod::text_map(pod, "annotations"))?;
        let role = role(&annotations)?;
        let config = proxy_config(&annotations, context)?;
        let native = annotations.flag("sidecar.istio.io/nativeSidecar")?;
        let native = native.or(context.settings.native_sidecar).unwrap_or(true);
        let placement = match role {
            Role::Sidecar if native => Placement::Native,
            Role::Sidecar => Placement::Container {
                hold: config.hold_application_until_proxy_starts,
            },
            Role::Gateway => Placement::Container { hold: false },
        };
        let rewrite = annotations.flag("sidecar.istio.io/rewriteAppHTTPProbers")?;
        let merge = annotations.flag("prometheus.istio.io/merge-metrics")?;
        let user_volumes = UserVolumes::read(&annotations)?;
        Ok(Plan {
            role,
            placement,
            capture: Capture::read(&annotations, &context.settings.capture)?,
            image: image::proxy(&annotations, context.settings)?,
            resources: sidecar::resources(&annotations, &context.settings.resources)?,
            volumes: volumes::volumes(&user_volumes),
            mounts: volumes::mounts(&user_volumes),
            readiness: Readiness::read(&annotations, context.settings.readiness)?,
            log_level: annotations
                .read("sidecar.istio.io/logLevel", annotations::log_level)?
                .or(context.settings.log_level),
            rewrite_probes: rewrite.unwrap_or(context.settings.rewrite_probes),
            merge_metrics: merge.unwrap_or(context.mesh.enable_prometheus_merge),
            config,
            annotations,
            context,
        })
    }

    /// Changes the pod.
    ///
    /// # Errors
    /// A part of the pod is not of its kind, a probe names an unknown port, or a sidecar would
    /// stand beside nothing.
    pub(crate) fn apply(&self, pod: &mut Value) -> Result<(), InjectError> {
        check_application(pod, self.placement)?;
        let original = pod.clone();
        let user_proxy = self.take_user_proxy(pod)?;
        let workload = Workload::of(&original);
        let mut proxy = self.proxy_container(&original, &workload).build();
        if let Some(user) = &user_proxy {
            overlay::container(&mut proxy, user);
        }
        let merge = match self.merge_metrics {
            true => prometheus::merge(self.annotations.all(), self.status_port())?,
            false => None,
        };
        if let Some(application) = merge.as_ref().and_then(|merge| merge.application.as_ref()) {
            self.push_variable(&mut proxy, "ISTIO_PROMETHEUS_ANNOTATIONS", application);
        }
        if self.rewrite_probes {
            let probers = probes::rewrite(pod, self.placement, self.status_port())?;
            if !probers.is_empty() {
                let text = json!(probers).to_string();
                self.push_variable(&mut proxy, "ISTIO_KUBE_APP_PROBERS", &text);
            }
        }
        let mut added = Added::default();
        let uid = proxy["securityContext"]["runAsUser"]
            .as_u64()
            .unwrap_or(PROXY_ID);
        let init = self.init_container(pod, uid)?;
        self.place(pod, init, proxy, &mut added)?;
        self.volumes(pod, &mut added)?;
        self.metadata(pod, (&original, &workload), merge, &added)
    }

    /// Changes a pod that has its proxy already, if containers came to it since.
    ///
    /// # Errors
    /// A probe names an unknown port.
    pub(crate) fn complete(&self, pod: &mut Value) -> Result<(), InjectError> {
        again::complete(pod, self.placement, self.rewrite_probes, self.status_port())
    }

    fn status_port(&self) -> u16 {
        self.config.status_port.get()
    }

    /// A container `istio-proxy` of the user's, whose fields win over ours.
    fn take_user_proxy(&self, pod: &mut Value) -> Result<Option<Value>, InjectError> {
        for list in ["containers", "initContainers"] {
            if pod["spec"].get(list).is_some_and(Value::is_array)
                && let Some(container) = pod::take(pod::list(pod, list)?, PROXY_CONTAINER)
            {
                return Ok(Some(container));
            }
        }
        Ok(None)
    }

    fn proxy_container<'p>(&'p self, pod: &'p Value, workload: &'p Workload) -> ProxyContainer<'p> {
        let settings = self.context.settings;
        // What metrics call the workload; the owner stays what it is.
        let renamed = pod["metadata"]["labels"]["service.istio.io/workload-name"].as_str();
        ProxyContainer {
            role: self.role,
            placement: self.placement,
            image: &self.image,
            settings,
            config: &self.config,
            ca_address: settings
                .ca_address
                .as_deref()
                .unwrap_or(&self.config.discovery_address),
            trust_domain: &self.context.mesh.trust_domain,
            log_level: self.log_level,
            namespace: &self.context.namespace.name,
            workload,
            workload_name: renamed.unwrap_or(&workload.name),
            readiness: self.readiness,
            resources: &self.resources,
            mounts: &self.mounts,
            pod,
        }
    }

    fn push_variable(&self, proxy: &mut Value, name: &str, value: &str) {
        if let Some(env) = proxy["env"].as_array_mut() {
            env.push(variable(name, value));
        }
    }

    /// The capture container, with the user's own `istio-init` laid over it; `None` where nothing
    /// is captured. `uid`: the proxy's, whose traffic passes.
    fn init_container(&self, pod: &mut Value, uid: u64) -> Result<Option<Value>, InjectError> {
        let captured = self.config.interception_mode == InterceptionMode::Redirect;
        if self.role == Role::Gateway || !captured {
            return Ok(None);
        }
        let listed = pod["spec"]
            .get("initContainers")
            .is_some_and(Value::is_array);
        let user = match listed {
            true => pod::take(pod::list(pod, "initContainers")?, INIT_CONTAINER),
            false => None,
        };
        let mut container = InitContainer {
            capture: &self.capture,
            image: &self.image,
            settings: self.context.settings,
            mode: self.config.interception_mode,
            status_port: self.status_port(),
            // Root's own traffic cannot be told from that of other processes of root.
            proxy_uid: if uid == 0 { PROXY_ID } else { uid },
            resources: &self.resources,
        }
        .build();
        if let Some(user) = &user {
            overlay::container(&mut container, user);
        }
        Ok(Some(container))
    }

    /// Puts the containers where they start in the right order.
    fn place(
        &self,
        pod: &mut Value,
        init: Option<Value>,
        proxy: Value,
        added: &mut Added,
    ) -> Result<(), InjectError> {
        if init.is_some() {
            added.init_containers.push(INIT_CONTAINER);
        }
        match self.placement {
            Placement::Native => {
                added.init_containers.push(PROXY_CONTAINER);
                // Capture, then the proxy, then the user's: these are in the mesh already.
                let ours = init.into_iter().chain([proxy]);
                pod::list(pod, "initContainers")?.splice(0..0, ours);
            }
            Placement::Container { hold } => {
                added.containers.push(PROXY_CONTAINER);
                if let Some(init) = init {
                    // Last: before the proxy runs, captured traffic would go nowhere.
                    pod::list(pod, "initContainers")?.push(init);
                }
                let containers = pod::list(pod, "containers")?;
                let position = if hold { 0 } else { containers.len() };
                containers.insert(position, proxy);
            }
        }
        Ok(())
    }

    fn volumes(&self, pod: &mut Value, added: &mut Added) -> Result<(), InjectError> {
        volumes::add(pod::list(pod, "volumes")?, &self.volumes);
        let names = self.volumes.iter().map(pod::name_of);
        added.volumes = names.map(str::to_owned).collect();
        if self.role == Role::Gateway && pod["spec"]["securityContext"]["sysctls"].is_null() {
            // A gateway binds 80 and 443 without being root.
            let unprivileged =
                json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
            pod::object(pod, &["spec", "securityContext"])?
                .insert("sysctls".to_owned(), unprivileged);
        }
        let secrets = &self.context.settings.image_pull_secrets;
        if !secrets.is_empty() {
            let list = pod::list(pod, "imagePullSecrets")?;
            for secret in secrets {
                if !list.iter().any(|other| pod::name_of(other) == secret) {
                    list.push(json!({"name": secret}));
                }
            }
            added.image_pull_secrets = secrets.clone();
        }
        Ok(())
    }

    fn metadata(
        &self,
        pod: &mut Value,
        (original, workload): (&Value, &Workload),
        merge: Option<prometheus::Merge>,
        added: &Added,
    ) -> Result<(), InjectError> {
        let labels = pod::object(pod, &["metadata", "labels"])?;
        metadata::add_labels(labels, &workload.name, self.role == Role::Sidecar);
        let revision = match self.context.settings.revision.as_str() {
            "" => "default",
            revision => revision,
        };
        let annotations = pod::object(pod, &["metadata", "annotations"])?;
        let application = pod::applications(original).next();
        let configured = self.context.settings.injected_annotations.clone();
        for (name, value) in metadata::annotations(revision, application)
            .into_iter()
            .chain(configured)
        {
            annotations.entry(name).or_insert(value.into());
        }
        if let Some(merge) = merge {
            for name in merge.removed {
                annotations.remove(&name);
            }
            for (name, value) in merge.added {
                annotations.insert(name.to_owned(), value.into());
            }
        }
        annotations.insert(STATUS.to_owned(), added.status(revision).into());
        Ok(())
    }
}

fn check_shape(pod: &Value) -> Result<(), InjectError> {
    let error = |path: &str, problem: &str| {
        Err(InjectError::Pod {
            path: path.to_owned(),
            problem: problem.to_owned(),
        })
    };
    if !pod["spec"].is_object() {
        return error(
            "spec",
            "required, but missing: a pod has a spec with containers",
        );
    }
    match pod["spec"]["containers"].as_array() {
        Some(containers) if !containers.is_empty() => Ok(()),
        _ => error(
            "spec.containers",
            "required, but missing: a pod has at least one container",
        ),
    }
}

/// A native sidecar leaves the containers to the application; of an empty list the API server
/// would only say that it is required.
fn check_application(pod: &Value, placement: Placement) -> Result<(), InjectError> {
    if placement != Placement::Native || pod::applications(pod).next().is_some() {
        return Ok(());
    }
    Err(InjectError::Pod {
        path: "spec.containers".to_owned(),
        problem: format!(
            "{PROXY_CONTAINER} is the only container, and a sidecar needs an application beside \
             it; for a gateway, add the annotation inject.istio.io/templates: gateway"
        ),
    })
}

/// The template that the annotation `inject.istio.io/templates` names.
fn role(annotations: &Annotations) -> Result<Role, InjectError> {
    let read = |text: &str| match text.trim() {
        "sidecar" => Ok(Role::Sidecar),
        "gateway" => Ok(Role::Gateway),
        _ => Err(
            "only the templates \"sidecar\" and \"gateway\" are implemented yet, one at a time"
                .to_owned(),
        ),
    };
    Ok(annotations
        .read("inject.istio.io/templates", read)?
        .unwrap_or(Role::Sidecar))
}

/// The mesh's ProxyConfig, under the injector's settings and the pod's annotations.
fn proxy_config(
    annotations: &Annotations,
    context: &Context<'_>,
) -> Result<ProxyConfig, InjectError> {
    let mut base = context.mesh.default_config.clone();
    if let Some(address) = &context.settings.control_plane_address {
        base.discovery_address = address.clone();
    }
    if let Some(port) = context.settings.status_port.and_then(PortNumber::new) {
        base.status_port = port;
    }
    let read = |text: &str| {
        mesh_config::decode::proxy_config(text, &base, PROXY_CONFIG).map_err(|error| {
            let messages: Vec<String> = error.errors.iter().map(ToString::to_string).collect();
            messages.join("; also: ")
        })
    };
    let mut config = annotations
        .read(PROXY_CONFIG, read)?
        .unwrap_or_else(|| base.clone());
    let mode = annotations.read("sidecar.istio.io/interceptionMode", |text| match text {
        "REDIRECT" => Ok(InterceptionMode::Redirect),
        "NONE" => Ok(InterceptionMode::None),
        "TPROXY" => Err("TPROXY is not implemented yet; use REDIRECT".to_owned()),
        _ => Err("use REDIRECT or NONE".to_owned()),
    })?;
    if let Some(mode) = mode {
        config.interception_mode = mode;
    }
    let port = annotations.port("status.sidecar.istio.io/port")?;
    if let Some(port) = port.and_then(PortNumber::new) {
        config.status_port = port;
    }
    Ok(config)
}
