//! Life of a connection to a port of our own: a gateway's server, or a proxyless port.

use std::rc::Rc;

use crate::detect::Prefixed;
use crate::listen::Accepted;
use crate::listen::connection::{ConnError, Connection, Direction};
use crate::worker::Worker;

/// Serves one connection to its end. `listener`: the name of the listener whose socket it came by.
///
/// # Errors
/// [`ConnError`] if we ended it.
pub async fn serve(
    worker: Rc<Worker>,
    listener: &str,
    accepted: Accepted,
) -> Result<(), ConnError> {
    let snapshot = worker.snapshot();
    let destination = accepted.destination;
    let listener = snapshot
        .listener(listener)
        .ok_or(ConnError::NoListener { destination })?;
    let mut connection = Connection::new(&worker, Direction::Gateway, listener, &accepted);
    let mut stream = Prefixed::new(accepted.stream);

    connection
        .inspect(&mut stream, listener.inspect(destination))
        .await?; // SNI
    let chain = connection.choose(&snapshot)?;
    drop(snapshot);
    let stream = connection.secure(stream, &chain).await?;
    connection.admit(&chain)?;
    connection.serve(stream, &chain).await
}
