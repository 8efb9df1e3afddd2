//! Lifecycle hooks: what runs right after a container's start and right before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::Context;
use super::probe::{ExecProbe, Target};

/// A hook without a bound of its own may take as long as a pod's default grace period.
const LONGEST: Duration = Duration::from_secs(30);

/// The hook after the start of `container`, if it has one.
///
/// # Errors
/// Why it failed; the container is then ended.
pub(super) async fn post_start(cx: &Context, container: &Container) -> Result<(), String> {
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.post_start.as_ref());
    match hook {
        // A postStart hook has no time limit of its own in Kubernetes (the proxy's waits up to a minute).
        Some(hook) => run(cx, container, hook, LONGEST * 10)
            .await
            .map_err(|problem| format!("postStart: {problem}")),
        None => Ok(()),
    }
}

/// The hook before the end of `container`, if it has one, for at most `limit`.
///
/// # Errors
/// Why it failed; the container is ended all the same.
pub(super) async fn pre_stop(
    cx: &Context,
    container: &Container,
    limit: Duration,
) -> Result<(), String> {
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    match hook {
        Some(hook) => run(cx, container, hook, limit)
            .await
            .map_err(|problem| format!("preStop: {problem}")),
        None => Ok(()),
    }
}

async fn run(
    cx: &Context,
    container: &Container,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        return Ok(());
    }
    let address = cx.address().ok_or("the pod has no address")?;
    let ports = super::probe::named_ports(container);
    let target = if let Some(exec) = &hook.exec {
        Target::Exec(exec.command.clone().unwrap_or_default())
    } else if let Some(http) = &hook.http_get {
        Target::http(http, address, &ports)?
    } else if let Some(tcp) = &hook.tcp_socket {
        Target::tcp(tcp, address, &ports)?
    } else {
        return Err("needs exec, httpGet, tcpSocket or sleep".to_owned());
    };
    let never: &ExecProbe = &|_| Box::pin(std::future::pending());
    match target {
        Target::Exec(command) => {
            let ran = async {
                let child = cx
                    .exec(&container.name, command, Default::default())
                    .await?;
                match child.wait().await.code() {
                    0 => Ok(()),
                    code => Err(format!("exited with {code}")),
                }
            };
            tokio::time::timeout(limit, Box::pin(ran))
                .await
                .unwrap_or_else(|_| Err(too_long(limit)))
        }
        target => target.check(limit, never).await,
    }
}

fn too_long(limit: Duration) -> String {
    format!("not done within {limit:?}")
}
