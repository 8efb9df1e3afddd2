//! The load generator, `mesh-bench load SPEC`: one thread (and one that keeps the time).
//!
//! At a fixed rate it is open-loop: a request is due at its time however slow the answers before it are,
//! and its latency counts from then (no coordinated omission). At saturation every connection sends as
//! soon as it has its answer.
//!
//! Protocol towards the benchmark: a line `measuring` when the warm-up is over, then, at the end, a line of
//! JSON, [`Outcome`].

mod client;
mod http1;
mod http2;
mod idle;
mod pace;
mod record;

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::task::{LocalSet, spawn_local};

pub(crate) use client::Client;
pub(crate) use idle::hold;
pub(crate) use record::Outcome;

use crate::place::Protocol;
use pace::Tickets;
use record::Record;

/// How long a client waits after a failure.
const PAUSE: Duration = Duration::from_millis(20);
/// How long all clients together may take for their first answers.
const RAMP: Duration = Duration::from_secs(15);
/// How long requests that were due in time may take beyond the end of the measurement.
const LATE: Duration = Duration::from_secs(5);

/// What load to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests at once on each connection; more than 1 only for HTTP/2 and gRPC.
    pub(crate) streams: usize,
    /// Bytes of each answer.
    pub(crate) body: usize,
    /// Requests a second in all; `None`: as many as can be.
    pub(crate) rate: Option<u32>,
    /// A new connection for each request.
    pub(crate) fresh: bool,
    /// Before the measurement.
    pub(crate) warm_up: Duration,
    /// The measurement.
    pub(crate) measure: Duration,
}

/// Makes the load and writes what came of it.
///
/// # Errors
/// When no load can be made at all; failed requests are counted in the outcome.
pub(crate) fn run(spec: &Spec) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = LocalSet::new().block_on(&runtime, drive(Rc::new(spec.clone())))?;
    let line = serde_json::to_string(&outcome).context("write the outcome")?;
    writeln!(std::io::stdout(), "{line}").context("tell the outcome")
}

async fn drive(spec: Rc<Spec>) -> anyhow::Result<Outcome> {
    let record = Rc::new(RefCell::new(Record::new()?));
    let tickets = spec.rate.map(pace::start).transpose()?;
    let mut workers = Vec::new();
    for _ in 0..spec.connections {
        let of_connection = connect(&spec, &record).await;
        for _ in 0..spec.streams {
            let worker = Worker {
                spec: Rc::clone(&spec),
                client: of_connection.clone(),
                record: Rc::clone(&record),
                tickets: tickets.clone(),
            };
            workers.push(spawn_local(worker.run()));
        }
    }
    if spec.rate.is_none() {
        all_answered(&record, workers.len()).await;
    }
    tokio::time::sleep(spec.warm_up).await;
    let start = Instant::now();
    record.borrow_mut().open(start);
    writeln!(std::io::stdout(), "measuring").context("tell the start")?;
    tokio::time::sleep(spec.measure).await;
    record.borrow_mut().close(Instant::now(), spec.rate);
    if let Some(tickets) = tickets {
        tickets.stop();
        let all = futures::future::join_all(&mut workers);
        // Those that are late even then are counted as unfinished.
        let _ = tokio::time::timeout(LATE, all).await;
    }
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    record.borrow().outcome()
}

/// Waits until every client has had an answer, so that the handshakes of a thousand connections are not
/// measured as requests. Clients that can't connect don't hold it up for ever.
async fn all_answered(record: &RefCell<Record>, clients: usize) {
    let end = Instant::now() + RAMP;
    while record.borrow().clients() < clients && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection for several streams to share; one that has none to itself makes its own.
async fn connect(spec: &Spec, record: &RefCell<Record>) -> Shared {
    if spec.streams == 1 || spec.fresh {
        return Shared::None;
    }
    match Client::connect(spec).await {
        Ok(Client::Http2(client)) => Shared::Http2(client),
        Ok(_) => Shared::None,
        Err(error) => {
            record.borrow_mut().failed(&error);
            Shared::None
        }
    }
}

#[derive(Clone)]
enum Shared {
    None,
    Http2(http2::Client),
}

struct Worker {
    spec: Rc<Spec>,
    client: Shared,
    record: Rc<RefCell<Record>>,
    tickets: Option<Tickets>,
}

impl Worker {
    async fn run(self) {
        let mut client = match self.client {
            Shared::None => None,
            Shared::Http2(client) => Some(Client::Http2(client)),
        };
        let mut answered = false;
        loop {
            let due = match &self.tickets {
                None => Instant::now(),
                Some(tickets) => match tickets.next().await {
                    Some(due) => due,
                    None => return,
                },
            };
            let result = exchange(&self.spec, &mut client).await;
            match result {
                Ok(()) => {
                    let mut record = self.record.borrow_mut();
                    record.done(due, Instant::now());
                    if !std::mem::replace(&mut answered, true) {
                        record.client_answered();
                    }
                }
                Err(error) => {
                    self.record.borrow_mut().failed(&error);
                    client = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn exchange(spec: &Spec, kept: &mut Option<Client>) -> std::io::Result<()> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(spec).await?,
    };
    client.exchange(spec).await?;
    if !spec.fresh {
        *kept = Some(client);
    }
    Ok(())
}
