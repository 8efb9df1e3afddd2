//! One container: started, probed, restarted, ended.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::probe::{self, Verdicts};
use super::spec::prepare;
use super::status::{State, Termination};
use super::{Context, hook};
use crate::sandbox::{self, Child, Exit, Streams};

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
                let (exit, message) =
                    Box::pin(run(&cx, &container, &child, &mut stop, &launched)).await;
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
        let missing = match Box::pin(prepare(cx, container)).await {
            Ok(spec) => {
                let child = Box::pin(sandbox::spawn(spec))
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
            let deadline = Instant::now() + cx.grace();
            (end(cx, container, child, deadline).await, problem)
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
            let child = cx.exec(&container, argv, Streams::default()).await?;
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
