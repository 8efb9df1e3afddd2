//! The orderly end of the process, as Istio's agent does it.
//!
//! SIGTERM: readiness fails, connections are discouraged (`Connection: close`, GOAWAY)
//! while traffic goes on for the drain time; then listeners close and what is left is cut.

use std::sync::Arc;
use std::time::Duration;

use mesh_telemetry::drain::{Phase, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::state::Shared;

/// How often open connections are counted when the drain may end early. Source: Istio's agent
/// polls once per second.
const POLL: Duration = Duration::from_millis(200);

/// Ends the process when asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trigger {
    asked: watch::Sender<bool>,
}

impl Default for Trigger {
    fn default() -> Self {
        Self {
            asked: watch::Sender::new(false),
        }
    }
}

impl Trigger {
    /// Asks for the end.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Waits until somebody asked.
    pub async fn asked(&self) {
        let mut asked = self.asked.subscribe();
        // The sender lives in self.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}

/// Waits for SIGTERM, SIGINT or [`Trigger::ask`], then drains; returns when listeners are
/// told to close. A second signal ends the drain at once. SIGHUP does nothing: a closed terminal
/// must not end a proxy.
///
/// # Errors
/// The system's error if signals cannot be received.
pub async fn wait_and_drain(
    shared: Arc<Shared>,
    drain: Arc<Signal>,
    trigger: Trigger,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = trigger.asked() => break,
            _ = hangup.recv() => tracing::info!("SIGHUP is ignored"),
        }
    }
    let bootstrap = &shared.bootstrap;
    tracing::info!(connections = drain.in_flight(), limit = ?bootstrap.termination_drain, "draining");
    drain.advance(Phase::Draining);
    tokio::select! {
        () = drained(&shared, &drain) => {}
        _ = terminate.recv() => tracing::info!("second signal ends the drain"),
        _ = interrupt.recv() => tracing::info!("second signal ends the drain"),
    }
    tracing::info!(connections = drain.in_flight(), "closing");
    drain.advance(Phase::Closing);
    Ok(())
}

async fn drained(shared: &Shared, drain: &Signal) {
    let bootstrap = &shared.bootstrap;
    if !bootstrap.exit_on_zero_connections {
        tokio::time::sleep(bootstrap.termination_drain).await;
        return;
    }
    // Endpoints of us are still known to others for a moment.
    tokio::time::sleep(bootstrap.minimum_drain).await;
    while drain.in_flight() > 0 {
        tokio::time::sleep(POLL).await;
    }
}
