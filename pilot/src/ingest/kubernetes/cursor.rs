//! Where a watch stands: what to ask the API server next, and what its answers mean.
//!
//! kube's own watcher keeps the version at which it stands to itself. It therefore can't notice
//! that a server was set back (its store restored from an older copy): the server then takes the
//! version that we ask to go on from as one that is yet to come, and tells nothing until it is
//! reached. So before a watch goes on, the server is asked where it stands.

use kube::api::WatchEvent;
use kube::core::Status;
use serde_json::Value;

/// The annotation of the bookmark that ends a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Everything there is, and what happens from then on, in one stream.
    Stream,
    /// The next part of everything there is; with the token of the last part.
    Page(Option<String>),
    /// The version at which the server stands.
    Version,
    /// What happened after this version, and what happens from now on.
    Watch(String),
}

/// What the API server tells of a collection.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// A list of everything begins.
    Listing,
    /// An object is there, with this content.
    Set(Value),
    /// An object was deleted.
    Gone(Value),
    /// The list is complete: what it didn't hold is gone.
    Listed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing is known, or it can't be gone on from.
    Nowhere,
    /// In the middle of a streamed list.
    Streaming,
    /// Behind a part of a list; with the token for the next.
    Page(String),
    /// Everything up to this version is known, of a server that may have been set back since.
    Doubtful(String),
    /// Everything up to this version is known.
    At(String),
}

/// Where the watch of one collection stands.
#[derive(Debug)]
pub(super) struct Cursor {
    place: Place,
    /// Whether the server streams lists.
    streams: bool,
}

impl Cursor {
    /// At the very beginning.
    pub(super) fn new() -> Self {
        Self {
            place: Place::Nowhere,
            streams: true,
        }
    }

    /// What to ask next, when no stream is open.
    pub(super) fn ask(&self) -> Ask {
        match &self.place {
            Place::Nowhere | Place::Streaming if self.streams => Ask::Stream,
            Place::Nowhere | Place::Streaming => Ask::Page(None),
            Place::Page(token) => Ask::Page(Some(token.clone())),
            Place::Doubtful(_) => Ask::Version,
            Place::At(version) => Ask::Watch(version.clone()),
        }
    }

    /// A streamed list has begun.
    pub(super) fn streaming(&mut self) -> Told {
        self.place = Place::Streaming;
        Told::Listing
    }

    /// The server doesn't stream lists: they are asked for in parts from now on.
    pub(super) fn no_streams(&mut self) {
        self.streams = false;
        self.place = Place::Nowhere;
    }

    /// A part of a list has come. `more`: the token of the next part. Also whether it began a list.
    pub(super) fn page(
        &mut self,
        items: Vec<Value>,
        version: String,
        more: Option<String>,
    ) -> Vec<Told> {
        let first = !matches!(self.place, Place::Page(_));
        let mut told = Vec::with_capacity(items.len() + 2);
        told.extend(first.then_some(Told::Listing));
        told.extend(items.into_iter().map(Told::Set));
        match more {
            Some(token) => self.place = Place::Page(token),
            None => {
                self.place = Place::At(version);
                told.push(Told::Listed);
            }
        }
        told
    }

    /// The server stands at `version`. What it told us may be more than it knows now: then nothing
    /// can be gone on from.
    pub(super) fn server_at(&mut self, version: &str) {
        if let Place::Doubtful(ours) = &self.place {
            self.place = if older(version, ours) {
                Place::Nowhere
            } else {
                Place::At(ours.clone())
            };
        }
    }

    /// A stream told this.
    ///
    /// # Errors
    /// The server's own error; the stream is of no use any more.
    pub(super) fn event(&mut self, event: WatchEvent<Value>) -> Result<Option<Told>, Box<Status>> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.advance(&object);
                Ok(Some(Told::Set(object)))
            }
            WatchEvent::Deleted(object) => {
                self.advance(&object);
                Ok(Some(Told::Gone(object)))
            }
            WatchEvent::Bookmark(bookmark) => {
                let ends = bookmark
                    .metadata
                    .annotations
                    .contains_key(INITIAL_EVENTS_END);
                let listed = self.place == Place::Streaming && ends;
                if listed || self.place != Place::Streaming {
                    self.place = Place::At(bookmark.metadata.resource_version);
                }
                Ok(listed.then_some(Told::Listed))
            }
            WatchEvent::Error(error) => Err(error),
        }
    }

    fn advance(&mut self, object: &Value) {
        let version = object.pointer("/metadata/resourceVersion");
        if let (Place::At(at), Some(version)) = (&mut self.place, version.and_then(Value::as_str)) {
            version.clone_into(at);
        }
    }

    /// The stream has ended, or a request failed: the server may be another one when it answers
    /// again.
    pub(super) fn interrupted(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::At(version) | Place::Doubtful(version) => Place::Doubtful(version),
            Place::Page(token) => Place::Page(token),
            Place::Nowhere | Place::Streaming => Place::Nowhere,
        };
    }

    /// The server no longer knows what happened since the version we know: 410 Gone.
    pub(super) fn expired(&mut self) {
        self.place = Place::Nowhere;
    }
}

/// Whether one version is before another. Kubernetes lets clients compare the versions of one
/// collection as numbers; what is none is not older.
fn older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
