//! What a container's process is started with: command line, environment, mounts, user, files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Context, env, log, volumes};
use crate::images;
use crate::sandbox::{Capabilities, Exec, Mount, Spec, Streams, User};

/// What a container needs and isn't there yet.
pub(super) struct Missing {
    /// The reason as Kubernetes names it.
    pub(super) reason: &'static str,
    /// What it is.
    pub(super) message: String,
}

/// Everything about a container that its process is started with.
pub(super) async fn prepare(cx: &Context, container: &Container) -> Result<Spec, Missing> {
    let config = |message: String| Missing {
        reason: "CreateContainerConfigError",
        message,
    };
    let image = container.image.as_deref().unwrap_or_default();
    let program = cx.node.images.borrow().resolve(image);
    let program = program.map_err(|error| Missing {
        reason: "ErrImagePull",
        message: error.to_string(),
    })?;
    let env = cx.environment(container, &program.env).map_err(config)?;
    let expanded = |words: &Option<Vec<String>>| -> Option<Vec<String>> {
        Some(
            words
                .as_ref()?
                .iter()
                .map(|word| env::expand(word, &env))
                .collect(),
        )
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    let argv = images::command_line(&program, command.as_deref(), args.as_deref());
    let mounts = mounts(cx, container, &env).await.map_err(config)?;
    let network = cx
        .network()
        .ok_or_else(|| config("the pod has no network".to_owned()))?;
    let log = log::open(&cx.node.state, cx.namespace(), cx.name(), &container.name)
        .map_err(|error| config(error.to_string()))?;
    let streams = streams(log).map_err(|error| config(error.to_string()))?;
    Ok(Spec {
        netns: network.netns().clone(),
        hostname: hostname(cx),
        resolv_conf: resolv_conf(cx),
        hosts: hosts(cx),
        mounts,
        exec: Exec {
            argv,
            env: env.into_iter().collect(),
            cwd: working_dir(container),
            user: user(cx.spec(), container),
            streams,
            terminal: false,
        },
        capabilities: capabilities(container),
    })
}

fn streams(log: File) -> std::io::Result<Streams> {
    let stderr = OwnedFd::from(log.try_clone()?);
    Ok(Streams {
        stdin: None,
        stdout: Some(log.into()),
        stderr: Some(stderr),
    })
}

async fn mounts(
    cx: &Context,
    container: &Container,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let spec = cx.spec();
    let rendered: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volumes::is_rendered(volume))
        .map(|volume| volume.name.as_str())
        .collect();
    let volumes = cx.volumes.lock().await;
    volumes.mounts(container, &|name| rendered.contains(&name), &|text| {
        env::expand(text, env)
    })
}

impl Context {
    /// The environment of a container. `image`: variables that its image sets.
    ///
    /// # Errors
    /// What it refers to and is missing.
    pub(super) fn environment(
        &self,
        container: &Container,
        image: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        let data = self.node.data.borrow().clone();
        let mut base = image.clone();
        base.entry("PATH".to_owned()).or_insert_with(|| {
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
        });
        base.insert("HOSTNAME".to_owned(), hostname(self));
        if self.spec().enable_service_links != Some(false) {
            base.extend(
                data.service_variables
                    .get(self.namespace())
                    .cloned()
                    .unwrap_or_default(),
            );
        }
        env::build(
            container,
            &base,
            &Lookup {
                cx: self,
                data: &data,
            },
        )
    }
}

struct Lookup<'a> {
    cx: &'a Context,
    data: &'a super::data::Data,
}

impl Lookup<'_> {
    fn key(&self, name: &str) -> (String, String) {
        (self.cx.namespace().to_owned(), name.to_owned())
    }
}

fn as_text(files: &super::data::Files) -> BTreeMap<String, String> {
    files
        .iter()
        .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect()
}

impl env::Lookup for Lookup<'_> {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.data.config_maps.get(&self.key(name)).map(as_text)
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.data.secrets.get(&self.key(name)).map(as_text)
    }

    fn field(&self, path: &str) -> Result<String, String> {
        let machine = &self.cx.node.machine;
        super::downward::field(&self.cx.pod, machine, self.cx.address(), path)
    }

    fn resource(&self, container: &str, resource: &str, divisor: &str) -> Result<String, String> {
        let machine = &self.cx.node.machine;
        super::downward::resource(&self.cx.pod, machine, container, resource, divisor)
    }
}

/// Where its program starts.
pub(super) fn working_dir(container: &Container) -> PathBuf {
    PathBuf::from(container.working_dir.as_deref().unwrap_or("/"))
}

/// Whom it runs as: its own setting before the pod's.
pub(super) fn user(pod: &PodSpec, container: &Container) -> User {
    let of_pod = pod.security_context.as_ref();
    let of_container = container.security_context.as_ref();
    let id = |container: Option<i64>, pod: Option<i64>| {
        container.or(pod).and_then(|id| u32::try_from(id).ok())
    };
    let groups = of_pod.into_iter().flat_map(|context| {
        context
            .supplemental_groups
            .iter()
            .flatten()
            .chain(context.fs_group.as_ref())
    });
    User {
        uid: id(
            of_container.and_then(|context| context.run_as_user),
            of_pod.and_then(|context| context.run_as_user),
        ),
        gid: id(
            of_container.and_then(|context| context.run_as_group),
            of_pod.and_then(|context| context.run_as_group),
        ),
        groups: groups
            .filter_map(|group| u32::try_from(*group).ok())
            .collect(),
    }
}

fn capabilities(container: &Container) -> Capabilities {
    let context = container.security_context.as_ref();
    if context.and_then(|context| context.privileged) == Some(true) {
        return Capabilities {
            add: vec!["ALL".to_owned()],
            drop: Vec::new(),
        };
    }
    let wanted = context
        .and_then(|context| context.capabilities.clone())
        .unwrap_or_default();
    Capabilities {
        add: wanted.add.unwrap_or_default(),
        drop: wanted.drop.unwrap_or_default(),
    }
}

fn hostname(cx: &Context) -> String {
    cx.spec()
        .hostname
        .clone()
        .unwrap_or_else(|| cx.name().chars().take(63).collect())
}

fn resolv_conf(cx: &Context) -> String {
    let namespace = cx.namespace();
    format!(
        "nameserver {}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
        crate::net::DNS
    )
}

fn hosts(cx: &Context) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if let Some(address) = cx.address() {
        let host = hostname(cx);
        let line = match &cx.spec().subdomain {
            Some(subdomain) => format!(
                "{address}\t{host}.{subdomain}.{}.svc.cluster.local\t{host}\n",
                cx.namespace()
            ),
            None => format!("{address}\t{host}\n"),
        };
        text.push_str(&line);
    }
    for alias in cx.spec().host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}
