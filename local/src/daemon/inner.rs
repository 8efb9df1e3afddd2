//! The inner process: everything that runs inside the platform's namespaces starts here.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{DaemonError, Options, openid, start, watch};
use crate::api::server::{self, Api};
use crate::api::wire::Status;
use crate::dns::{self, Zone};
use crate::images::Images;
use crate::load::Places;
use crate::net::{self, Network};
use crate::node::{self, Node};
use crate::pod::data::Data;
use crate::pod::token::Signer;
use crate::publish::Publisher;
use crate::reconcile::{Command, Controller, Setup};
use crate::state::{self, StateDir, StateError};
use crate::up::{self, Host};

/// Commands waiting for the controller; clients beyond that wait at the socket.
const COMMANDS: usize = 64;

/// Runs the platform; `argument`: the options as JSON.
pub(super) fn main(argument: &str) -> ExitCode {
    // The log takes over standard error; what stops the start must still reach the user.
    let user = std::io::stderr().as_fd().try_clone_to_owned();
    match run(argument) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = crate::chain(&error);
            tracing::error!("{text}");
            if let Ok(user) = user {
                // Nobody is left to tell if this fails.
                drop(writeln!(std::fs::File::from(user), "error: {text}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(argument: &str) -> Result<(), DaemonError> {
    let options: Options = serde_json::from_str(argument)
        .map_err(|error| start("read the options")(std::io::Error::other(error)))?;
    let state = StateDir::open(&options.state_dir)?;
    redirect_output(&state)?;
    mesh_telemetry::log::init(mesh_telemetry::log::Format::Text, &options.log)
        .map_err(|error| start("start the log")(std::io::Error::other(error)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(start("start the runtime"))?;
    runtime.block_on(platform(options, state))
}

/// Standard output and error go to `STATE/platform.log`: the terminal shows progress.
fn redirect_output(state: &StateDir) -> Result<(), DaemonError> {
    let path = state.root().join("platform.log");
    let failed = |source| StateError::new("write", &path, source);
    let file = std::fs::File::create(&path).map_err(failed)?;
    nix::unistd::dup2_stdout(&file).map_err(|errno| failed(errno.into()))?;
    nix::unistd::dup2_stderr(&file).map_err(|errno| failed(errno.into()))?;
    Ok(())
}

async fn platform(options: Options, state: StateDir) -> Result<(), DaemonError> {
    let host = up::attach()?;
    for stale in [state.pods(), state.logs()] {
        state::empty_dir(&stale)?;
    }
    // The root certificate is written anew by the control plane; its old one must not be taken
    // for the present one before that.
    state::remove_file(&state.root_certificate())?;
    let network = Network::create(host.clone()).await?;
    let signer = Signer::load_or_create(&state)?;
    let zone = tokio::sync::watch::Sender::new(Arc::new(Zone::default()));
    let dns = dns::serve(net::DNS, zone.subscribe(), host.clone())
        .await
        .map_err(start("listen for DNS on 10.96.0.10:53"))?;
    let openid = openid::serve(net::API, signer.jwks().to_string())
        .await
        .map_err(start("listen for HTTP on 10.96.0.1:80"))?;
    let images = Images::built_in(&options.bin_dir, options.search_path.clone());
    let node = Arc::new(Node {
        network,
        machine: node::machine(),
        signer,
        images: tokio::sync::watch::Sender::new(Arc::new(images.clone())),
        data: tokio::sync::watch::Sender::new(Arc::new(Data::default())),
        changed: Notify::new(),
        state,
    });
    let tasks = [tokio::spawn(dns), tokio::spawn(openid)];
    let result = Box::pin(control(options, node, images, zone, host)).await;
    for task in tasks {
        task.abort();
    }
    result
}

async fn control(
    options: Options,
    node: Arc<Node>,
    images: Images,
    zone: tokio::sync::watch::Sender<Arc<Zone>>,
    host: Host,
) -> Result<(), DaemonError> {
    let places = Places {
        built_in: if options.mesh {
            crate::built_in::manifests(&node.state)
        } else {
            Vec::new()
        },
        given: options.paths.clone(),
        applied: node.state.applied(),
        images,
    };
    let (files_changed, watcher) = watch::watch(&places)?;
    let (commands, received) = mpsc::channel::<Command>(COMMANDS);
    let status = tokio::sync::watch::Sender::new(Status::default());
    let shutdown = CancellationToken::new();
    let api = Api {
        commands,
        node: Arc::clone(&node),
        status: status.subscribe(),
        shutdown: shutdown.clone(),
    };
    let socket = node.state.api_socket();
    let listener = bind_private(&socket)?;
    let serving = tokio::spawn(server::serve(listener, api));
    let publisher = Publisher::new(options.publish);
    let setup = Setup {
        node,
        places,
        publisher,
        commands: received,
        files_changed,
        zone,
        status,
    };
    let controller = Controller::new(setup)?;
    let asked = shutdown.clone();
    tokio::spawn(async move {
        host.terminated().await;
        asked.cancel();
    });
    Box::pin(controller.run(shutdown, options.grace)).await;
    drop(watcher);
    serving.abort();
    state::remove_file(&socket)?;
    Ok(())
}

/// The socket, reachable for its owner only from the first moment.
fn bind_private(path: &std::path::Path) -> Result<UnixListener, DaemonError> {
    use nix::sys::stat::{Mode, umask};

    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound.map_err(start(&format!("listen on {}", path.display())))
}
