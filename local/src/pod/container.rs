//! One container: started, probed, restarted, ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::probe::{self, Verdicts};
use super::status::{State, Termination};
use super::{Context, env, hook, log, volumes};
use crate::images;
use crate::sandbox::{self, Capabilities, Child, Exec, Exit, Mount, Spec, Streams, User};

pub(super) use super::probe::named_ports;

/// Whether and by when to end; `None` inside means go on.
pub(crate) type Stop = watch::Receiver<Option<Instant>>;

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// Whatever happened.
    Always,
    /// If it failed.
    OnFailure,
    /// Never.
    Never,
}

/// A kubelet waits at least this long between SIGTERM and SIGKILL, even if a hook used up the rest.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// Runs a container until it ended for good or was told to stop; its last exit code.
///
/// `launched` becomes true after the first attempt to start it (and its postStart hook).
pub(super) async fn supervise(
    cx: Arc<Context>,
    container: Container,
    restart: Restart,
    mut stop: Stop,
    launched: watch::Sender<bool>,
) -> i32 {
    let mut backoff = Backoff::default();
    loop {
        if stop.borrow().is_some() {
            return 0;
        }
        let started = Instant::now();
        let begun = Timestamp::now();
        let code = match start(&cx, &container, &mut stop).await {
            Ok(child) => {
                let (exit, message) = run(&cx, &container, &child, &mut stop, &launched).await;
                cx.set_child(&container.name, None);
                ended(&cx, &container, exit, message, begun);
                exit.code()
            }
            Err(NotStarted::Stopped) => return 0,
            Err(NotStarted::Failed(problem)) => {
                tracing::warn!(pod = cx.name(), container = container.name, "{problem}");
                waiting(&cx, &container, "RunContainerError", &problem);
                128
            }
        };
        launched.send_replace(true);
        let again = match restart {
            Restart::Always => true,
            Restart::OnFailure => code != 0,
            Restart::Never => false,
        };
        if !again || stop.borrow().is_some() {
            return code;
        }
        let wait = backoff.next(started.elapsed());
        if !wait.is_zero() {
            back_off(&cx, &container, wait);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = until_stopped(&mut stop) => return code,
        }
        cx.observe_container(&container.name, |status| status.restarts += 1);
    }
}

fn back_off(cx: &Context, container: &Container, wait: Duration) {
    let name = &container.name;
    cx.observe_container(name, |status| {
        let why = match &status.state {
            State::Waiting { message, .. } => message.clone(),
            State::Terminated(end) => format!(
                "exited with {} (see `meshctl local logs -n {} {} -c {name}`)",
                end.code,
                cx.namespace(),
                cx.name()
            ),
            State::Running { .. } => String::new(),
        };
        let message = format!("starts again in {}s: {why}", wait.as_secs());
        status.state = State::Waiting {
            reason: "CrashLoopBackOff",
            message,
        };
    });
}

fn waiting(cx: &Context, container: &Container, reason: &'static str, message: &str) {
    cx.observe_container(&container.name, |status| {
        status.state = State::Waiting {
            reason,
            message: message.to_owned(),
        };
        status.ready = false;
        status.started = false;
    });
}

fn ended(cx: &Context, container: &Container, exit: Exit, message: String, begun: Timestamp) {
    let end = Termination {
        code: exit.code(),
        message,
        started: begun,
        finished: Timestamp::now(),
    };
    cx.observe_container(&container.name, |status| {
        status.last = Some(end.clone());
        status.state = State::Terminated(end);
        status.ready = false;
        status.started = false;
        status.probe = None;
    });
}

enum NotStarted {
    Stopped,
    Failed(String),
}

/// Starts the process; waits for as long as something it refers to is missing.
async fn start(cx: &Context, container: &Container, stop: &mut Stop) -> Result<Child, NotStarted> {
    loop {
        let mut images = cx.node.images.subscribe();
        let mut data = cx.node.data.subscribe();
        images.borrow_and_update();
        data.borrow_and_update();
        let missing = match prepare(cx, container).await {
            Ok(spec) => {
                let child = sandbox::spawn(spec)
                    .await
                    .map_err(|error| NotStarted::Failed(error.to_string()))?;
                cx.set_child(&container.name, Some(child.clone()));
                return Ok(child);
            }
            Err(missing) => missing,
        };
        waiting(cx, container, missing.reason, &missing.message);
        tokio::select! {
            _ = until_stopped(stop) => return Err(NotStarted::Stopped),
            _ = images.changed() => {}
            _ = data.changed() => {}
            // An executable may appear without any file of ours changing.
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

struct Missing {
    reason: &'static str,
    message: String,
}

async fn prepare(cx: &Context, container: &Container) -> Result<Spec, Missing> {
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

/// Runs a started container until it ends, a probe condemns it or it is told to stop.
async fn run(
    cx: &Arc<Context>,
    container: &Container,
    child: &Child,
    stop: &mut Stop,
    launched: &watch::Sender<bool>,
) -> (Exit, String) {
    cx.observe_container(&container.name, |status| {
        status.state = State::Running {
            since: Timestamp::now(),
        };
    });
    let verdicts = watch::Sender::new(Verdicts::default());
    let mut seen = verdicts.subscribe();
    let probed = async {
        if let Err(problem) = hook::post_start(cx, container).await {
            return problem;
        }
        launched.send_replace(true);
        let Some(address) = cx.address() else {
            return "the pod has no address".to_owned();
        };
        probe::run(
            container,
            address,
            &exec_probe(cx, &container.name),
            &verdicts,
        )
        .await
    };
    let reported = async {
        while seen.changed().await.is_ok() {
            let verdicts = seen.borrow_and_update().clone();
            cx.observe_container(&container.name, |status| {
                status.started = verdicts.started;
                status.ready = verdicts.ready;
                status.probe = verdicts.reason;
            });
        }
    };
    tokio::select! {
        exit = child.wait() => (exit, String::new()),
        problem = probed => {
            tracing::warn!(pod = cx.name(), container = container.name, "{problem}; restarting it");
            let grace = Duration::from_secs(30);
            (end(cx, container, child, Instant::now() + grace).await, problem)
        }
        deadline = until_stopped(stop) => {
            (end(cx, container, child, deadline).await, "stopped".to_owned())
        }
        () = reported => (child.wait().await, String::new()),
    }
}

pub(super) async fn until_stopped(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // The pod's task is gone; so is everybody who could wait.
        Err(_) => Instant::now(),
    }
}

fn exec_probe(cx: &Arc<Context>, container: &str) -> Box<probe::ExecProbe> {
    let (cx, container) = (Arc::clone(cx), container.to_owned());
    Box::new(move |argv| {
        let (cx, container) = (Arc::clone(&cx), container.clone());
        Box::pin(async move {
            let child = cx.exec(&container, argv, Streams::default(), false).await?;
            let guard = KillOnDrop(child);
            Ok(guard.0.wait().await.code())
        }) as Pin<Box<dyn Future<Output = Result<i32, String>> + Send>>
    })
}

/// A probe that took too long must not go on running.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.0.try_wait().is_none() {
            // It may have ended in between, which is what is wanted.
            drop(self.0.signal(nix::libc::SIGKILL));
        }
    }
}

/// preStop, SIGTERM, and SIGKILL at the deadline.
async fn end(cx: &Context, container: &Container, child: &Child, deadline: Instant) -> Exit {
    let left = deadline.saturating_duration_since(Instant::now());
    tokio::select! {
        result = hook::pre_stop(cx, container, left) => {
            if let Err(problem) = result {
                tracing::warn!(pod = cx.name(), container = container.name, "{problem}");
            }
        }
        exit = child.wait() => return exit,
    }
    // An error means that it has ended, which the wait below sees.
    drop(child.signal(nix::libc::SIGTERM));
    let deadline = if left.is_zero() {
        deadline
    } else {
        deadline.max(Instant::now() + LEAST_GRACE)
    };
    match tokio::time::timeout_at(deadline, child.wait()).await {
        Ok(exit) => exit,
        Err(_) => {
            drop(child.signal(nix::libc::SIGKILL));
            child.wait().await
        }
    }
}

pub(super) fn working_dir(container: &Container) -> PathBuf {
    PathBuf::from(container.working_dir.as_deref().unwrap_or("/"))
}

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
