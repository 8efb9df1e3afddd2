//! Life of a connection to the application beside us: captured at 15006.

use std::rc::Rc;

use crate::detect::Prefixed;
use crate::listen::Accepted;
use crate::listen::connection::{ConnError, Connection, Direction, Serving};
use crate::worker::Worker;

/// Leads one connection to its filter chain; the rest of its life is the result.
///
/// # Errors
/// [`ConnError`] if we ended it.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted) -> Result<Serving, ConnError> {
    let snapshot = worker.snapshot();
    let destination = accepted.destination;
    let listener = snapshot
        .inbound()
        .ok_or(ConnError::NoListener { destination })?;
    let mut connection = Connection::new(&worker, Direction::Inbound, listener, &accepted);
    let mut stream = Prefixed::new(accepted.stream);

    connection.inspect(&mut stream, listener).await?;
    let chain = connection.choose(&snapshot)?; // STRICT takes no plaintext
    drop(snapshot); // a long connection must not keep an old configuration
    let stream = connection.secure(stream, &chain).await?;
    connection.admit(&chain)?;
    Ok(connection.serve(stream, &chain))
}
