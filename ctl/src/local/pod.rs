//! `meshctl local logs` and `exec`.

use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Args;
use mesh_local::api::wire;

use super::Scope;

/// Arguments of `logs`.
#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The pod, or `deployment/NAME` for one of its pods.
    pod: String,
    /// The container [default: the pod's first].
    #[arg(short, long)]
    container: Option<String>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(long)]
    tail: Option<u64>,
    /// The log of the run before the container's last restart.
    #[arg(short, long)]
    previous: bool,
    #[command(flatten)]
    scope: Scope,
}

/// Arguments of `exec`.
#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// The pod, or `deployment/NAME` for one of its pods.
    pod: String,
    /// The container [default: the pod's first].
    #[arg(short, long)]
    container: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) async fn logs(logs: Logs) -> anyhow::Result<()> {
    let client = logs.scope.place.client()?;
    let query = wire::Logs {
        namespace: logs.scope.namespace,
        pod: logs.pod,
        container: logs.container,
        follow: logs.follow,
        tail: logs.tail,
        previous: logs.previous,
    };
    match client.logs(query, &mut tokio::io::stdout()).await {
        // The reader has seen enough (`| head`).
        Err(mesh_local::client::ClientError::Output(error))
            if error.kind() == std::io::ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        result => Ok(result?),
    }
}

pub(super) async fn exec(exec: Exec) -> anyhow::Result<ExitCode> {
    let client = exec.scope.place.client()?;
    let request = wire::Exec {
        namespace: exec.scope.namespace,
        pod: exec.pod,
        container: exec.container,
        command: exec.command,
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let code = client
        .exec(request, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
        .await?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
