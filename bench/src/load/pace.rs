//! The clock of open-loop load: a thread that hands out a ticket whenever a request is due.
//!
//! A thread, since the timers of the runtime have a resolution of a millisecond: as much as what is to be
//! measured.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Requests that may be due and not sent.
const BEHIND: usize = 1 << 20;

/// The requests that are due.
#[derive(Clone)]
pub(super) struct Tickets {
    due: Rc<Mutex<Receiver<Instant>>>,
    stop: Arc<AtomicBool>,
}

impl Tickets {
    /// Waits for a request to be due; since when it is. `None` after the last.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.lock().await.recv().await
    }

    /// Hands out no more; those that are due stay so.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Hands out `rate` tickets a second until it is stopped.
///
/// # Errors
/// When there can be no thread.
pub(super) fn start(rate: u32) -> anyhow::Result<Tickets> {
    let (sender, receiver) = channel(BEHIND);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || hand_out(rate, &sender, &stopped))
        .context("start the clock's thread")?;
    Ok(Tickets {
        due: Rc::new(Mutex::new(receiver)),
        stop,
    })
}

fn hand_out(rate: u32, tickets: &Sender<Instant>, stopped: &AtomicBool) {
    // Without it the kernel may wake us 50 us late.
    let _ = nix::sys::prctl::set_timerslack(1);
    let start = Instant::now();
    for number in 0..u64::MAX {
        let due = start + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if stopped.load(Ordering::Relaxed) || tickets.try_send(due).is_err() {
            return;
        }
    }
}
