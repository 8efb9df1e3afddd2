//! Open-loop load: requests leave at their time, however slow the answers are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};

use crate::http::{self, Answer, Call};

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// Each failed request, in words; at most the first 20.
    pub failures: Vec<String>,
    /// All failed requests.
    pub failed: u64,
}

impl Outcome {
    /// Asserts that every request succeeded.
    ///
    /// # Errors
    /// With the counts and the first failures.
    pub fn assert_none_failed(&self) -> anyhow::Result<()> {
        ensure!(
            self.failed == 0,
            "{} of {} requests failed, the first: {}",
            self.failed,
            self.sent,
            self.failures.join("; ")
        );
        Ok(())
    }
}

/// A load that runs until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Outcome>>,
}

impl Load {
    /// Starts sending `call` to `to`, `per_second` times a second. `accept` says what a good
    /// answer is; an `Err` counts as a failed request.
    #[must_use]
    pub fn start(
        to: SocketAddr,
        call: Call,
        per_second: u32,
        accept: fn(&Answer) -> anyhow::Result<()>,
    ) -> Self {
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            http::runtime()?.block_on(run(to, call, per_second, accept, &stopped, &count))
        });
        Self { stop, sent, thread }
    }

    /// How many requests have left so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until `requests` have left.
    ///
    /// # Errors
    /// When they have not within ten times the time that they should take.
    pub fn wait_for(&self, requests: u64) -> anyhow::Result<()> {
        let within = Duration::from_millis(requests * 50).max(Duration::from_secs(60));
        crate::deadline::eventually_true("the load was sent", within, || {
            ensure!(!self.thread.is_finished(), "the load has ended by itself");
            Ok(self.sent() >= requests)
        })
    }

    /// Stops, waits for the answers, and tells what came of it.
    ///
    /// # Errors
    /// When the load could not run at all.
    pub fn finish(self) -> anyhow::Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the load panicked"))?
    }
}

async fn run(
    to: SocketAddr,
    call: Call,
    per_second: u32,
    accept: fn(&Answer) -> anyhow::Result<()>,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> anyhow::Result<Outcome> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut requests = tokio::task::JoinSet::new();
    let mut outcome = Outcome::default();
    let call = Arc::new(call);
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            _ = ticks.tick() => {
                let call = call.clone();
                let at = sent.fetch_add(1, Ordering::Relaxed);
                requests.spawn(async move {
                    let checked = http::send(to, &call).await.and_then(|answer| accept(&answer));
                    checked.with_context(|| format!("request {at}"))
                });
            }
            Some(done) = requests.join_next(), if !requests.is_empty() => record(&mut outcome, done),
        }
    }
    while let Some(done) = requests.join_next().await {
        record(&mut outcome, done);
    }
    outcome.sent = sent.load(Ordering::Relaxed);
    Ok(outcome)
}

fn record(outcome: &mut Outcome, done: Result<anyhow::Result<()>, tokio::task::JoinError>) {
    let error = match done {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => error.to_string(),
    };
    outcome.failed += 1;
    if outcome.failures.len() < 20 {
        outcome.failures.push(error);
    }
}
