//! The life of a pod, in order.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::container::{Restart, Stop, supervise, until_stopped};
use super::status::Phase;
use super::{Context, is_sidecar, log, now_seconds};

/// A container that is being looked after.
struct Supervised {
    task: JoinHandle<i32>,
    stop: watch::Sender<Option<Instant>>,
}

/// Runs a pod from nothing to nothing.
pub(super) async fn run(cx: Arc<Context>, mut stop: Stop) {
    let mut sidecars = Vec::new();
    let result = tokio::select! {
        result = set_up(&cx) => result,
        _ = until_stopped(&mut stop) => Err(Ending::Stopped),
    };
    let phase = match result {
        Ok(()) => {
            let upkeep = tokio::spawn(upkeep(Arc::clone(&cx)));
            let phase = live(&cx, &mut stop, &mut sidecars).await;
            upkeep.abort();
            phase
        }
        Err(Ending::Stopped) => Phase::Failed,
    };
    cx.observe(|observed| observed.phase = phase);
    cx.volumes.lock().await.remove();
    cx.observe(|observed| observed.gone = true);
}

enum Ending {
    Stopped,
}

/// Network and volumes; tries again for as long as something is missing.
async fn set_up(cx: &Context) -> Result<(), Ending> {
    loop {
        match cx.node.network.add_pod().await {
            Ok(network) => {
                let address = network.ip();
                // Set once here and nowhere else.
                drop(cx.network.set(network));
                cx.observe(|observed| {
                    observed.address = Some(address);
                    observed.message = None;
                });
                break;
            }
            Err(error) => {
                tracing::warn!(pod = cx.name(), error = %crate::chain(&error), "no network for a pod");
                cx.observe(|observed| {
                    observed.message = Some(format!("network: {}", crate::chain(&error)))
                });
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
    loop {
        let mut data = cx.node.data.subscribe();
        data.borrow_and_update();
        match cx.update_volumes().await {
            Ok(_) => {
                cx.observe(|observed| observed.message = None);
                return Ok(());
            }
            Err(problem) => cx.observe(|observed| observed.message = Some(problem)),
        }
        tokio::select! {
            _ = data.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// Keeps mounted ConfigMaps, Secrets and tokens fresh and logs small.
async fn upkeep(cx: Arc<Context>) {
    let mut data = cx.node.data.subscribe();
    loop {
        tokio::select! {
            changed = data.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(log::CHECK_EVERY) => {}
        }
        let spec = cx.spec();
        for container in spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
        {
            let name = &container.name;
            log::rotate(&log::log_path(
                &cx.node.state,
                cx.namespace(),
                cx.name(),
                name,
            ));
        }
        match cx.update_volumes().await {
            Ok(Some(renewal)) => {
                tracing::trace!(
                    pod = cx.name(),
                    in_seconds = renewal.saturating_sub(now_seconds()),
                    "next token"
                );
            }
            Ok(None) => {}
            Err(problem) => tracing::warn!(pod = cx.name(), "{problem}; its old content stays"),
        }
    }
}

/// Init containers, containers, the end.
async fn live(cx: &Arc<Context>, stop: &mut Stop, sidecars: &mut Vec<Supervised>) -> Phase {
    let restart = match cx.spec().restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let (mut containers, mut phase) = match initialize(cx, restart, stop, sidecars).await {
        Initialized::Yes => (launch_all(cx, restart, stop).await, Phase::Running),
        Initialized::Failed => (Vec::new(), Phase::Failed),
        Initialized::Stopped => (Vec::new(), Phase::Failed),
    };
    if phase == Phase::Running {
        if stop.borrow().is_none() {
            cx.observe(|observed| observed.phase = Phase::Running);
        }
        phase = wait_for_containers(&mut containers, stop).await;
    }
    let deadline = *stop.borrow();
    stop_sidecars(sidecars, deadline).await;
    if stop.borrow().is_none() {
        // Finished by itself: the pod stays, as what it was, until it is deleted.
        cx.observe(|observed| observed.phase = phase);
        until_stopped(stop).await;
    }
    phase
}

enum Initialized {
    Yes,
    Failed,
    Stopped,
}

async fn initialize(
    cx: &Arc<Context>,
    restart: Restart,
    stop: &mut Stop,
    sidecars: &mut Vec<Supervised>,
) -> Initialized {
    // A failed init container is run again unless the pod says never; a finished one isn't.
    let init_restart = if restart == Restart::Never {
        Restart::Never
    } else {
        Restart::OnFailure
    };
    for container in cx.spec().init_containers.iter().flatten() {
        if stop.borrow().is_some() {
            return Initialized::Stopped;
        }
        if is_sidecar(container) {
            let (supervised, _) = launch(cx, container, Restart::Always, None);
            sidecars.push(supervised);
            tokio::select! {
                () = until_started(cx, &container.name) => {}
                _ = until_stopped(stop) => return Initialized::Stopped,
            }
        } else {
            let (mut supervised, _) = launch(cx, container, init_restart, None);
            let code = tokio::select! {
                code = &mut supervised.task => code.unwrap_or(128),
                deadline = until_stopped(stop) => {
                    supervised.stop.send_replace(Some(deadline));
                    // Its exit code no longer matters.
                    let _ = supervised.task.await;
                    return Initialized::Stopped;
                }
            };
            if code != 0 {
                return Initialized::Failed;
            }
            cx.observe_container(&container.name, |status| status.ready = true);
        }
    }
    cx.observe(|observed| observed.initialized = true);
    Initialized::Yes
}

async fn until_started(cx: &Context, name: &str) {
    let mut observed = cx.observed.subscribe();
    let started = observed
        .wait_for(|pod| {
            pod.init
                .iter()
                .any(|init| init.name == name && init.started)
        })
        .await;
    // The sender is in `cx`, which we hold.
    drop(started);
}

fn launch(
    cx: &Arc<Context>,
    container: &Container,
    restart: Restart,
    stopped: Option<Instant>,
) -> (Supervised, watch::Receiver<bool>) {
    let (stop, told) = watch::channel(stopped);
    let (launched, after) = watch::channel(false);
    let work = supervise(Arc::clone(cx), container.clone(), restart, told, launched);
    (
        Supervised {
            task: tokio::spawn(work),
            stop,
        },
        after,
    )
}

/// Starts the containers in order: each after the one before it has been started and its
/// postStart hook is done.
async fn launch_all(cx: &Arc<Context>, restart: Restart, stop: &mut Stop) -> Vec<Supervised> {
    let mut all = Vec::new();
    for container in &cx.spec().containers {
        let now = *stop.borrow();
        let (supervised, mut after) = launch(cx, container, restart, now);
        all.push(supervised);
        tokio::select! {
            () = true_or_gone(&mut after) => {}
            _ = until_stopped(stop) => break,
        }
    }
    all
}

/// A sender that is gone means that the container has ended already.
async fn true_or_gone(launched: &mut watch::Receiver<bool>) {
    drop(launched.wait_for(|launched| *launched).await);
}

/// Waits until every container has ended, telling them to stop when the pod is told to.
async fn wait_for_containers(containers: &mut [Supervised], stop: &mut Stop) -> Phase {
    let codes = async {
        let mut worst = 0;
        for container in &mut *containers {
            worst = worst.max((&mut container.task).await.unwrap_or(128));
        }
        worst
    };
    let told: Option<Instant> = tokio::select! {
        worst = codes => {
            return if worst == 0 { Phase::Succeeded } else { Phase::Failed };
        }
        deadline = until_stopped(stop) => Some(deadline),
    };
    for container in &*containers {
        container.stop.send_replace(told);
    }
    for container in containers {
        // One that the first loop has seen end must not be polled again.
        if !container.task.is_finished() {
            // Its exit code no longer matters.
            let _ = (&mut container.task).await;
        }
    }
    Phase::Succeeded
}

/// Sidecars end after the containers, the one started last first.
async fn stop_sidecars(sidecars: &mut Vec<Supervised>, deadline: Option<Instant>) {
    let deadline = deadline.unwrap_or_else(|| Instant::now() + super::DEFAULT_GRACE);
    while let Some(sidecar) = sidecars.pop() {
        sidecar.stop.send_replace(Some(deadline));
        // Its exit code doesn't matter.
        let _ = sidecar.task.await;
    }
}
