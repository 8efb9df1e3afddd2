//! The task of one collection: from its watch to the sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::Client;

use super::collection::Collection;
use super::metrics::{Lost, Metrics};
use super::objects::{Objects, Outcome};
use super::watch::{Failure, Watch};
use crate::ingest::{Batch, Closed, Problem, Sink};

/// Waits after a failed request: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// After so long without a failure the next one waits as the first did.
const CALM: Duration = Duration::from_secs(30);
/// An API server that has just come back refuses everybody until it knows its roles.
const COMING_BACK: Duration = Duration::from_secs(10);

/// Counts the collections that have yet to be listed once.
#[derive(Clone, Debug)]
pub(super) struct Initial(Arc<AtomicUsize>);

impl Initial {
    /// So many are awaited.
    pub(super) fn new(collections: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(collections)))
    }
}

/// What all collections' tasks work with.
#[derive(Clone)]
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) sink: Sink,
    pub(super) metrics: Metrics,
    pub(super) initial: Initial,
    /// Whether this task has yet to report its first complete list.
    pub(super) awaited: bool,
}

impl Follower {
    /// Watches a collection for good.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn follow(
        &mut self,
        collection: Collection,
        objects: &mut Objects,
    ) -> Result<(), Closed> {
        let mut watch = Watch::new(self.client.clone(), collection);
        let mut trouble = self.trouble();
        loop {
            match watch.next().await {
                Ok(told) => {
                    self.over(&mut trouble).await?;
                    let outcome = objects.apply(told);
                    self.report(watch.collection().kind, outcome).await?;
                }
                Err(failure) => {
                    if !watch.collection().required && matches!(failure, Failure::Refused(_)) {
                        self.initially_done().await?;
                    }
                    self.meet(&mut trouble, watch.collection(), &failure)
                        .await?;
                }
            }
        }
    }

    /// For a watch that begins.
    pub(super) fn trouble(&self) -> Trouble {
        Trouble::new(self.metrics.clone())
    }

    /// A watch's request was answered.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn over(&self, trouble: &mut Trouble) -> Result<(), Closed> {
        match trouble.over() {
            Some(place) => self.tell(place, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// A watch's request failed: tells of it where it is news, and waits.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn meet(
        &self,
        trouble: &mut Trouble,
        collection: &Collection,
        failure: &Failure,
    ) -> Result<(), Closed> {
        self.metrics.failed(collection.kind, failure);
        if let Some((place, problem)) = trouble.meet(collection, failure) {
            self.tell(place, vec![problem]).await?;
        }
        tokio::time::sleep(trouble.wait()).await;
        Ok(())
    }

    /// Replaces what was said to be wrong with a place.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn tell(&self, place: String, problems: Vec<Problem>) -> Result<(), Closed> {
        let problems = vec![(place, problems)];
        self.sink
            .send(Batch {
                problems,
                ..Batch::default()
            })
            .await
    }

    /// Hands on what followed from something that a collection of this kind told.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn report(
        &mut self,
        kind: &'static str,
        outcome: Outcome,
    ) -> Result<(), Closed> {
        let Outcome {
            batch,
            happened,
            listed,
        } = outcome;
        self.metrics.happened(kind, &happened);
        if !batch.events.is_empty() || !batch.problems.is_empty() {
            self.sink.send(batch).await?;
        }
        if listed {
            self.metrics.listed(kind);
            self.initially_done().await?;
        }
        Ok(())
    }

    /// This collection is known. The last one to say so ends the initial listing.
    ///
    /// # Errors
    /// [`Closed`] if nobody listens any more.
    pub(super) async fn initially_done(&mut self) -> Result<(), Closed> {
        if std::mem::take(&mut self.awaited) && self.initial.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            let synced = Batch {
                synced: true,
                ..Batch::default()
            };
            self.sink.send(synced).await?;
        }
        Ok(())
    }
}

/// What stands between a watch and its server.
pub(super) struct Trouble {
    metrics: Metrics,
    wait: Duration,
    last: Option<Instant>,
    unreachable: Option<Lost>,
    /// When the server, having been away, answered again by a refusal.
    back: Option<Instant>,
    /// The place of the problem that was reported.
    reported: Option<String>,
}

impl Trouble {
    fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            wait: FIRST_WAIT,
            last: None,
            unreachable: None,
            back: None,
            reported: None,
        }
    }

    /// The server answers: the place whose problem is to be taken back.
    fn over(&mut self) -> Option<String> {
        self.unreachable = None;
        self.back = None;
        self.reported.take()
    }

    /// A request failed: what is to be reported.
    fn meet(&mut self, collection: &Collection, failure: &Failure) -> Option<(String, Problem)> {
        match failure {
            Failure::Unreachable(_) => {
                if self.unreachable.is_none() {
                    self.unreachable = Some(self.metrics.lost(failure));
                }
                None
            }
            Failure::Refused(reason) => {
                if self.unreachable.take().is_some() {
                    self.back = Some(Instant::now());
                    self.last = None;
                }
                if self.back.is_some_and(|back| back.elapsed() < COMING_BACK) {
                    return None;
                }
                let name = collection.name();
                let problem = Problem {
                    file: super::NAME.to_owned(),
                    object: name.clone(),
                    field: String::new(),
                    problem: format!("can't be watched: {reason}"),
                    remedy: format!(
                        "let the control plane's service account list and watch {name}"
                    ),
                };
                self.reported = Some(name.clone());
                Some((name, problem))
            }
        }
    }

    fn wait(&mut self) -> Duration {
        let last = self.last.replace(Instant::now());
        self.wait = match last {
            Some(last) if last.elapsed() < CALM => (self.wait * 2).min(LAST_WAIT),
            _ => FIRST_WAIT,
        };
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::Kind;
    use mesh_telemetry::metrics::Registry;

    use super::*;

    #[test]
    fn a_refusal_is_told_unless_the_server_is_coming_back() {
        let collection = Collection::of_mesh(Kind::Gateway, "v1");
        let refused = Failure::Refused("no permission".to_owned());
        let unreachable = Failure::Unreachable("connection refused".to_owned());
        let mut trouble = Trouble::new(Metrics::register(&Registry::new()));
        assert!(trouble.meet(&collection, &refused).is_some());
        assert!(trouble.over().is_some());
        for _ in 0..10 {
            assert!(trouble.meet(&collection, &unreachable).is_none());
            trouble.wait();
        }
        assert_eq!(trouble.wait(), LAST_WAIT);
        assert!(trouble.meet(&collection, &refused).is_none());
        assert_eq!(trouble.wait(), FIRST_WAIT);
        assert!(trouble.meet(&collection, &refused).is_none());
        trouble.over();
        assert!(trouble.meet(&collection, &refused).is_some());
    }
}
