//! The requests of one watch.

use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{AsyncBufReadExt, StreamExt};
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use kube::api::{ObjectList, WatchEvent};
use kube::{Client, Error};
use serde_json::Value;
use tokio::time::timeout;

use super::collection::{Collection, STREAM_SECONDS};
use super::cursor::{Ask, Cursor, Told};

/// How much later than it should a stream may end, before it counts as broken.
const STREAM_MARGIN: Duration = Duration::from_secs(5);
/// How long an answer may take that is no stream.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const NO_ANSWER: &str = "no answer within 30 s";
/// A server that ends streams sooner is not in order: to ask again at once would not help it.
const SHORTEST_STREAM: Duration = Duration::from_secs(1);
/// How long a streamed list may be silent: a server may say that it streams lists, and then wait for
/// what its store never tells it.
const LIST_SILENCE: Duration = Duration::from_secs(10);
/// Events that are handed over at once, if they are there.
const CHUNK_EVENTS: usize = 256;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server can't be reached, or is in no state to answer.
    #[error("{0}")]
    Unreachable(String),
    /// The server won't answer this until somebody changes something.
    #[error("{0}")]
    Refused(String),
}

type Events = BoxStream<'static, Vec<Result<WatchEvent<Value>, Error>>>;

/// The watch of one collection.
pub(super) struct Watch {
    client: Client,
    collection: Collection,
    cursor: Cursor,
    open: Option<Events>,
    opened: Instant,
}

impl Watch {
    /// A watch that has yet to begin.
    pub(super) fn new(client: Client, collection: Collection) -> Self {
        Self {
            client,
            collection,
            cursor: Cursor::new(),
            open: None,
            opened: Instant::now(),
        }
    }

    /// What is watched.
    pub(super) fn collection(&self) -> &Collection {
        &self.collection
    }

    /// What the server tells next; nothing if this was only a step towards it. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// [`Failure`]. The next call tries again: wait a little before it.
    pub(super) async fn next(&mut self) -> Result<Vec<Told>, Failure> {
        let told = match &self.open {
            Some(_) => self.read().await,
            None => self.request().await,
        };
        told.or_else(|error| self.note(&error))
    }

    async fn request(&mut self) -> Result<Vec<Told>, Error> {
        let ask = self.cursor.ask();
        let request = self.collection.request(&ask).map_err(Error::BuildRequest)?;
        match ask {
            Ask::Stream => {
                self.open = Some(self.events(request).await?);
                Ok(vec![self.cursor.streaming()])
            }
            Ask::Watch(_) => {
                self.open = Some(self.events(request).await?);
                Ok(Vec::new())
            }
            Ask::Page(_) => {
                let list = list(&self.client, request).await?;
                let version = list.metadata.resource_version.unwrap_or_default();
                let more = list.metadata.continue_.filter(|token| !token.is_empty());
                let mut items = list.items;
                for object in &mut items {
                    self.collection.complete(object);
                }
                Ok(self.cursor.page(items, version, more))
            }
            Ask::Version => {
                let list = list(&self.client, request).await?;
                let version = list.metadata.resource_version.unwrap_or_default();
                self.cursor.server_at(&version);
                Ok(Vec::new())
            }
        }
    }

    /// kube has this, too, but puts a line into the log for every stream that breaks.
    async fn events(&mut self, mut request: http::Request<Vec<u8>>) -> Result<Events, Error> {
        // Servers may compress each event by itself, which clients take for the end after the first.
        let plain = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, plain);
        self.opened = Instant::now();
        let answer = timeout(ANSWER_TIME, self.client.request_stream(request)).await;
        let lines = answer.unwrap_or_else(|_| Err(broken(NO_ANSWER)))?.lines();
        let events = lines.map(|line| {
            let line = line.map_err(Error::ReadEvents)?;
            serde_json::from_str(&line).map_err(Error::SerdeError)
        });
        Ok(events.ready_chunks(CHUNK_EVENTS).boxed())
    }

    async fn read(&mut self) -> Result<Vec<Told>, Error> {
        let listing = self.cursor.ask() == Ask::Stream;
        let patience = match listing {
            true => LIST_SILENCE,
            false => Duration::from_secs(STREAM_SECONDS.into()) + STREAM_MARGIN,
        };
        let Some(events) = &mut self.open else {
            return Ok(Vec::new());
        };
        let chunk = match timeout(patience, events.next()).await {
            Ok(Some(chunk)) => chunk,
            ended => {
                if self.opened.elapsed() < SHORTEST_STREAM {
                    return Err(broken("the stream ended at once"));
                }
                self.close();
                if listing && ended.is_err() {
                    self.cursor.no_streams();
                }
                return Ok(Vec::new());
            }
        };
        let mut told = Vec::with_capacity(chunk.len());
        for event in chunk {
            if matches!(event, Err(Error::ReadEvents(_))) && self.opened.elapsed() > SHORTEST_STREAM
            {
                // Streams break for many reasons; whether the server is away shows next.
                self.close();
                break;
            }
            match event.and_then(|event| self.cursor.event(event).map_err(Error::Api)) {
                Ok(known) => told.extend(known),
                // What came before it is good: the error will come again, or not.
                Err(error) if told.is_empty() => return Err(error),
                Err(error) => {
                    let _ = self.note(&error);
                    break;
                }
            }
        }
        Ok(told)
    }

    fn close(&mut self) {
        self.open = None;
        self.cursor.interrupted();
    }

    fn note(&mut self, error: &Error) -> Result<Vec<Told>, Failure> {
        let listing = self.cursor.ask() == Ask::Stream;
        self.close();
        match error {
            // Servers that can't stream lists say so in many ways: 400 and 422 if they are old or it
            // is turned off, 500 if their store is too old for it.
            Error::Api(status) if listing && !is_final(status.code) => {
                tracing::debug!(reason = status.message, "lists are not streamed");
                self.cursor.no_streams();
                Ok(Vec::new())
            }
            Error::Api(status) if status.code == 410 => {
                tracing::debug!(
                    collection = self.collection.name(),
                    reason = status.message,
                    "the API server has forgotten what happened since: listing anew"
                );
                self.cursor.expired();
                Ok(Vec::new())
            }
            Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                Err(Failure::Refused(mesh_kubernetes::explain(error)))
            }
            _ => Err(Failure::Unreachable(mesh_kubernetes::explain(error))),
        }
    }
}

/// Whether another way to ask would get the same answer.
fn is_final(code: u16) -> bool {
    matches!(code, 401 | 403 | 404 | 410 | 429 | 503 | 504)
}

async fn list(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<ObjectList<Value>, Error> {
    let answer = timeout(ANSWER_TIME, client.request(request)).await;
    answer.unwrap_or_else(|_| Err(broken(NO_ANSWER)))
}

fn broken(what: &str) -> Error {
    Error::ReadEvents(std::io::Error::other(what))
}

#[cfg(test)]
mod tests;
