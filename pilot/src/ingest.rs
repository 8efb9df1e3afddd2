//! Where configuration and endpoints come from.
//!
//! A [`Source`] watches one place (a directory tree, an API server) and reports what it
//! sees as [`Batch`]es of decoded objects. Decoding is an error boundary: a bad document becomes a
//! [`Problem`] of that object, its last good version stays, and the stream of events goes on.

pub mod file;
pub mod kubernetes;
mod object;

pub use file::FileSource;
pub use kubernetes::KubernetesSource;
pub use object::{Manifests, MeshConfigMap, ObjectKey, decode_all, decode_value};

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::snapshot::Item;

/// A place that objects come from. Each runs as one task until the sink is closed.
pub trait Source: Send + 'static {
    /// What it is, for logs and problems: `files`, `kubernetes`.
    fn name(&self) -> &'static str;

    /// Watches until [`Sink::send`] says that nobody listens any more. The first batch with
    /// [`Batch::synced`] ends the initial listing: no proxy is served before.
    fn run(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()>;
}

/// One change of one object.
#[derive(Clone, Debug)]
pub enum Event {
    /// It exists, with this content.
    Set(ObjectKey, Item),
    /// It is gone.
    Delete(ObjectKey),
}

/// Changes that were seen together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they are to be applied.
    pub events: Vec<Event>,
    /// Everything that is wrong with each place (file) looked at; replaces what was said of that
    /// place before.
    pub problems: Vec<(String, Vec<Problem>)>,
    /// The source has reported everything that existed when it started.
    pub synced: bool,
}

/// Something wrong with one object in its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The file, with the line at which the document starts; or another place.
    pub file: String,
    /// `Kind namespace/name`, as far as it could be read.
    pub object: String,
    /// Path of the field, such as `spec.http[0].route[1].weight`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What the user can change; may be empty.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.file, &self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

/// Where a source sends its batches. Bounded: a source that is ahead of the store waits.
#[derive(Clone, Debug)]
pub struct Sink {
    source: &'static str,
    sender: mpsc::Sender<(&'static str, Batch)>,
}

/// The receiving end of a [`Sink`] is gone: the source should stop.
#[derive(Debug, thiserror::Error)]
#[error("nobody listens to source {0} any more")]
pub struct Closed(&'static str);

impl Sink {
    /// A sink for the source of this name.
    pub fn new(source: &'static str, sender: mpsc::Sender<(&'static str, Batch)>) -> Self {
        Self { source, sender }
    }

    /// Hands over a batch.
    ///
    /// # Errors
    /// [`Closed`] if the store is gone.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.sender
            .send((self.source, batch))
            .await
            .map_err(|_| Closed(self.source))
    }

    /// Completes when the store is gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}
