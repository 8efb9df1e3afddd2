//! `mesh-bench idle SPEC`: connections that are opened, used once and then held.

use std::io::{Read as _, Write as _};
use std::rc::Rc;

use anyhow::Context;
use futures::StreamExt;
use tokio::task::LocalSet;

use super::{Client, Spec};

/// Handshakes at a time.
const AT_ONCE: usize = 64;

/// Opens all connections, says `measuring`, and holds them until standard input ends.
///
/// # Errors
/// When a connection cannot be opened or used.
pub(crate) fn hold(spec: &Spec) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let spec = Rc::new(spec.clone());
    let opened: Vec<std::io::Result<Client>> = LocalSet::new().block_on(&runtime, async {
        futures::stream::iter(0..spec.connections)
            .map(|_| open(Rc::clone(&spec)))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    });
    let total = opened.len();
    let held: Result<Vec<Client>, _> = opened.into_iter().collect();
    let held = held.with_context(|| format!("open {total} connections"))?;
    writeln!(std::io::stdout(), "measuring").context("tell the start")?;
    let _ = std::io::stdin().read(&mut [0]);
    drop(held);
    Ok(())
}

async fn open(spec: Rc<Spec>) -> std::io::Result<Client> {
    let mut client = Client::connect(&spec).await?;
    client.exchange(&spec).await?;
    Ok(client)
}
