//! The control side: xDS in, compiled snapshots out, all on one thread.
//!
//! - [`ads`]: the stream to the control plane, and what is done with each response.
//! - [`channel`]: gRPC connections to control plane and authority.
//! - [`dns`]: names of DNS clusters.
//! - [`shutdown`]: the orderly end.
//!
//! [`Control`] lives on the control thread and is never borrowed across an `await`.

pub mod ads;
pub mod backoff;
pub mod channel;
pub mod dns;
pub mod shutdown;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mesh_route::{Compiler, Wanted};
use mesh_telemetry::drain::Signal;
use mesh_telemetry::log::LogHandle;
use mesh_xds::type_url;
use tokio::sync::Notify;

use crate::metrics::Families;
use crate::state::Shared;

/// What the tasks of the control thread share.
#[derive(Debug)]
pub struct Control {
    /// What is shared with the workers.
    pub shared: Arc<Shared>,
    /// Keeps resources and compiles them.
    pub compiler: RefCell<Compiler>,
    /// Which first resources came.
    pub received: Received,
    /// A stream to the control plane is open.
    pub connected: Cell<bool>,
    /// Wakes those who care for a new snapshot.
    pub changed: Rc<Notify>,
    /// Wakes readiness after a new certificate.
    pub certified: Rc<Notify>,
    /// Ends the process.
    pub shutdown: shutdown::Trigger,
    /// Tells connections that the end has begun.
    pub drain: Arc<Signal>,
    /// Changes the log level.
    pub log: LogHandle,
    /// Figures of clusters and listeners.
    pub families: Families,
    /// When the process began.
    pub started: Instant,
    ready_once: Cell<bool>,
}

/// First responses, by type.
#[derive(Debug, Default)]
pub struct Received {
    clusters: Cell<bool>,
    listeners: Cell<bool>,
}

impl Control {
    /// The control side of a process. `families`: those of its workers.
    pub fn new(
        shared: Arc<Shared>,
        families: Families,
        drain: Arc<Signal>,
        log: LogHandle,
    ) -> Rc<Self> {
        Rc::new(Self {
            shared,
            compiler: RefCell::new(Compiler::new()),
            received: Received::default(),
            connected: Cell::new(false),
            changed: Rc::new(Notify::new()),
            certified: Rc::new(Notify::new()),
            shutdown: shutdown::Trigger::default(),
            drain,
            log,
            families,
            started: Instant::now(),
            ready_once: Cell::new(false),
        })
    }

    /// Notes that the first response of a type was applied.
    pub fn note_received(&self, type_url: &str) {
        match type_url {
            type_url::CLUSTER => self.received.clusters.set(true),
            type_url::LISTENER => self.received.listeners.set(true),
            _ => {}
        }
    }

    /// Recomputes what readiness still waits for. Once ready, later changes of configuration
    /// do not take readiness away: the last good configuration serves.
    pub fn update_readiness(&self) {
        if self.ready_once.get() {
            return;
        }
        let missing = self.missing();
        let complete = missing.is_none();
        self.shared.readiness.set_configuration(missing);
        if complete {
            self.ready_once.set(true);
            tracing::info!(after = ?self.started.elapsed(), "configuration is complete");
            if let Err(error) = mesh_sys::memory::trim() {
                tracing::debug!(%error, "the start's memory stays");
            }
        }
    }

    fn missing(&self) -> Option<String> {
        if self.shared.certs.current().is_none() {
            return Some(format!(
                "no workload certificate from {} yet",
                self.shared.bootstrap.authority
            ));
        }
        if !self.received.clusters.get() || !self.received.listeners.get() {
            return Some(format!(
                "no configuration from {} yet",
                self.shared.bootstrap.discovery
            ));
        }
        let Wanted {
            endpoints,
            routes,
            secrets,
        } = self.compiler.borrow().missing();
        let kinds = [
            ("endpoints of", endpoints),
            ("routes", routes),
            ("secrets", secrets),
        ];
        let waiting: Vec<String> = kinds
            .into_iter()
            .filter_map(|(kind, names)| {
                let first = names.first()?;
                let more = if names.len() > 1 {
                    format!(" and {} more", names.len() - 1)
                } else {
                    String::new()
                };
                Some(format!("{kind} {first}{more}"))
            })
            .collect();
        (!waiting.is_empty()).then(|| format!("waiting for {}", waiting.join(", ")))
    }
}

/// Keeps readiness up to date after each certificate.
pub async fn watch_certificates(control: Rc<Control>) {
    loop {
        let certified = control.certified.notified();
        control.update_readiness();
        certified.await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
