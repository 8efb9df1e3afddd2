//! The clock of open-loop load: a thread that hands out a ticket whenever a request is due.
//!
//! A thread, since the timers of the runtime have a resolution of a millisecond: as much as what is to be
//! measured.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Requests that may be due and not sent.
const BEHIND: usize = 1 << 20;

/// The requests that are due.
#[derive(Clone)]
pub(super) struct Tickets(Rc<Mutex<Receiver<Instant>>>);

impl Tickets {
    /// Waits for a request to be due; since when it is. `None` after the last.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.0.lock().await.recv().await
    }
}

/// Hands out `rate` tickets a second for as long as `length`.
///
/// # Errors
/// When there can be no thread.
pub(super) fn start(rate: u32, length: Duration) -> anyhow::Result<Tickets> {
    let (sender, receiver) = channel(BEHIND);
    std::thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || hand_out(rate, length, &sender))
        .context("start the clock's thread")?;
    Ok(Tickets(Rc::new(Mutex::new(receiver))))
}

fn hand_out(rate: u32, length: Duration, tickets: &Sender<Instant>) {
    // Without it the kernel may wake us 50 us late.
    let _ = nix::sys::prctl::set_timerslack(1);
    let start = Instant::now();
    for number in 0..u64::MAX {
        let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
        if due >= length {
            return;
        }
        let due = start + due;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if tickets.try_send(due).is_err() {
            return;
        }
    }
}
