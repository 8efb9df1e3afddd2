//! Life of a connection to a port of our own: a gateway's server, or a sidecar's port that
//! applications and peers dial without a redirect (Sidecar, `captureMode: NONE`).

use std::rc::Rc;

use mesh_route::Traffic;

use crate::bootstrap::Role;
use crate::detect::Prefixed;
use crate::listen::Accepted;
use crate::listen::connection::{ConnError, Connection, Direction, Serving};
use crate::worker::Worker;

/// Leads one connection to its filter chain; the rest of its life is the result. `listener`: the name of the listener whose socket it came by.
///
/// # Errors
/// [`ConnError`] if we ended it.
pub async fn serve(
    worker: Rc<Worker>,
    listener: &str,
    accepted: Accepted,
) -> Result<Serving, ConnError> {
    let snapshot = worker.snapshot();
    let destination = accepted.destination;
    let listener = snapshot
        .listener(listener)
        .ok_or(ConnError::NoListener { destination })?;
    let direction = match (worker.shared.bootstrap.role, listener.traffic) {
        (Role::Sidecar, Traffic::Inbound) => Direction::Inbound,
        (Role::Sidecar, Traffic::Outbound) => Direction::Outbound,
        _ => Direction::Gateway,
    };
    let mut connection = Connection::new(&worker, direction, listener, &accepted);
    let mut stream = Prefixed::new(accepted.stream);

    connection.inspect(&mut stream, listener).await?; // SNI
    let chain = connection.choose(&snapshot)?;
    drop(snapshot);
    let stream = connection.secure(stream, &chain).await?;
    connection.admit(&chain)?;
    Ok(connection.serve(stream, &chain))
}
