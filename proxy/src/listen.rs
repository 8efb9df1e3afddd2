//! Listening sockets of one worker: opened and closed as the snapshot says, accepted from until
//! the process closes.
//!
//! Every worker binds the same addresses with `SO_REUSEPORT`; the kernel spreads connections.

pub mod connection;
mod error;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mesh_route::snapshot::{VIRTUAL_INBOUND, VIRTUAL_OUTBOUND};
use mesh_route::{Listener, Snapshot};
use mesh_sys::socket::{self, TcpOptions};
use mesh_telemetry::drain::Phase;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::metrics::stats::ListenerStats;
use crate::worker::Worker;
use crate::{gateway, inbound, outbound};
use connection::ConnError;

/// Connections the kernel holds for us while we are busy.
const BACKLOG: u32 = 4096;

/// Pause after an accept error such as EMFILE, doubled up to the maximum while it lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a port that could not be bound is tried again.
const BIND_RETRY: Duration = Duration::from_secs(1);

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// Our address on the socket.
    pub local: SocketAddr,
    /// Where the client wanted to go: differs from `local` behind a redirect.
    pub destination: SocketAddr,
}

/// A socket to have: which listener's, at which address.
type Place = (Arc<str>, SocketAddr);

/// Keeps the sockets of `worker` in step with its snapshot until the process closes.
pub async fn serve(worker: &Rc<Worker>) {
    let mut sockets: HashMap<Place, AbortHandle> = HashMap::new();
    let mut news = worker.shared.snapshot.subscribe();
    let closing = worker.shared.drain.reached(Phase::Closing);
    let mut closing = std::pin::pin!(closing);
    let mut announced = false;
    loop {
        news.mark_unchanged();
        let snapshot = worker.snapshot();
        let complete = reconcile(worker, &snapshot, &mut sockets);
        if !announced && complete && snapshot.version > 0 {
            announced = true;
            worker.shared.readiness.worker_listening();
        }
        let retry = async {
            if complete {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(BIND_RETRY).await;
        };
        tokio::select! {
            biased;
            () = &mut closing => break,
            changed = news.changed() => if changed.is_err() { break },
            () = retry => {}
        }
    }
    sockets.into_values().for_each(|task| task.abort());
}

/// Opens what is missing, closes what is no longer wanted; false if something can't be bound.
fn reconcile(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    sockets: &mut HashMap<Place, AbortHandle>,
) -> bool {
    let wanted: Vec<(Place, &Arc<Listener>)> = bound(snapshot).flat_map(places).collect();
    sockets.retain(|place, task| {
        let keep = wanted.iter().any(|(wanted, _)| wanted == place);
        if !keep {
            task.abort();
        }
        keep
    });
    let mut complete = true;
    for (place, listener) in wanted {
        if sockets.contains_key(&place) {
            continue;
        }
        match open(worker, listener, place.1) {
            Ok(task) => {
                sockets.insert(place, task);
            }
            Err(error) => {
                complete = false;
                tracing::error!(listener = %place.0, address = %place.1, %error, "cannot listen, will try again");
            }
        }
    }
    complete
}

fn bound(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Listener>> {
    let virtuals = [VIRTUAL_OUTBOUND, VIRTUAL_INBOUND];
    let virtuals = virtuals
        .into_iter()
        .filter_map(|name| snapshot.listener(name));
    virtuals.chain(snapshot.bound())
}

fn places(listener: &Arc<Listener>) -> impl Iterator<Item = (Place, &Arc<Listener>)> {
    let addresses = std::iter::once(&listener.address).chain(&listener.additional_addresses);
    addresses.map(move |address| ((Arc::clone(&listener.name), *address), listener))
}

fn open(worker: &Rc<Worker>, listener: &Listener, address: SocketAddr) -> io::Result<AbortHandle> {
    let socket = TcpListener::from_std(socket::listen_reuse_port(address, BACKLOG)?)?;
    let kind = Kind::of(listener);
    if matches!(kind, Kind::Outbound) {
        socket::do_not_pace(&socket); // its clients are those of our own pod
    }
    let accepting = accept(
        Rc::clone(worker),
        socket,
        kind,
        worker.stats.listener(&listener.name),
    );
    Ok(tokio::task::spawn_local(accepting).abort_handle())
}

/// Which table of contents serves a listener.
#[derive(Debug, Clone)]
enum Kind {
    Outbound,
    Inbound,
    Bound(Arc<str>),
}

impl Kind {
    fn of(listener: &Listener) -> Self {
        match &*listener.name {
            VIRTUAL_OUTBOUND => Self::Outbound,
            VIRTUAL_INBOUND => Self::Inbound,
            _ => Self::Bound(Arc::clone(&listener.name)),
        }
    }
}

async fn accept(worker: Rc<Worker>, socket: TcpListener, kind: Kind, stats: Rc<ListenerStats>) {
    let mut pause = ACCEPT_PAUSE;
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                stats.accept_error.inc();
                tracing::warn!(%error, ?pause, "cannot accept, pausing (is the limit of open files too low?)");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE;
        if !worker.has_room() {
            stats.cx_overflow.inc();
            continue; // dropped: the client sees the connection closed
        }
        match restore(stream, peer, &kind) {
            Ok(accepted) => dispatch(&worker, accepted, kind.clone()),
            Err(Refused::OwnPort) => stats.self_connect.inc(),
            Err(Refused::Gone) => {}
        }
    }
}

/// Errors that accept(2) reports about the connection, not about us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted
    )
}

enum Refused {
    /// Somebody connected to the capture port itself: forwarding would come back to us.
    OwnPort,
    /// The client has left already.
    Gone,
}

fn restore(stream: TcpStream, peer: SocketAddr, kind: &Kind) -> Result<Accepted, Refused> {
    let local = stream.local_addr().map_err(|_| Refused::Gone)?;
    // A refused option is no reason to refuse the connection.
    let _ = TcpOptions::default().apply(&stream);
    let destination = match kind {
        Kind::Bound(_) => local,
        Kind::Outbound | Kind::Inbound => {
            let original = socket::original_destination(&stream).unwrap_or(local);
            if original == local {
                return Err(Refused::OwnPort);
            }
            original
        }
    };
    Ok(Accepted {
        stream,
        peer,
        local,
        destination,
    })
}

fn dispatch(worker: &Rc<Worker>, accepted: Accepted, kind: Kind) {
    let of_task = Rc::clone(worker);
    worker.spawn(async move {
        let peer = accepted.peer;
        let led = match kind {
            Kind::Outbound => Box::pin(outbound::serve(of_task, accepted)).await,
            Kind::Inbound => Box::pin(inbound::serve(of_task, accepted)).await,
            Kind::Bound(name) => Box::pin(gateway::serve(of_task, &name, accepted)).await,
        };
        let served = match led {
            Ok(serving) => serving.await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            log(peer, &error);
        }
    });
}

fn log(peer: SocketAddr, error: &ConnError) {
    tracing::debug!(%peer, error = %crate::upstream::error::report(error), "connection ended");
}
