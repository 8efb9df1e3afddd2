//! Where lines go: a bounded buffer, emptied by a thread of its own.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::metrics::Counter;

/// Lines beyond this many unwritten bytes are dropped: about 3,000 of Istio's lines.
const CAPACITY_BYTES: usize = 1 << 20;
/// From this many bytes the writer is woken at once instead of at the next interval.
const EAGER_BYTES: usize = CAPACITY_BYTES / 4;
/// Longest time that a line waits for others to share its write.
const INTERVAL: Duration = Duration::from_millis(50);

/// The log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open access log {path}")]
pub struct OpenError {
    path: String,
    #[source]
    source: io::Error,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    closed: bool,
    writing: bool,
}

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    emptied: Condvar,
    dropped: Counter,
}

/// Closes the writer when the last sink is dropped.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.buffer.lock().closed = true;
        self.0.filled.notify_one();
    }
}

/// A destination of log lines with its own writer thread. Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

impl Sink {
    /// Opens `/dev/stdout`, `/dev/stderr` or a file, which is appended to.
    ///
    /// `dropped` counts the lines for which there was no room.
    ///
    /// # Errors
    /// [`OpenError`] if the file cannot be opened or no thread can be started.
    pub fn open(path: &str, dropped: Counter) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            path: path.to_owned(),
            source,
        };
        let out: Box<dyn Write + Send> = match path {
            "/dev/stdout" => Box::new(io::stdout()),
            "/dev/stderr" => Box::new(io::stderr()),
            file => Box::new(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(file)
                    .map_err(failed)?,
            ),
        };
        Self::new(out, dropped).map_err(failed)
    }

    /// A sink that writes to `out`.
    ///
    /// # Errors
    /// The system's error if no thread can be started.
    pub fn new(out: Box<dyn Write + Send>, dropped: Counter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            buffer: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped,
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || run(&writer, out))?;
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        Ok(Self {
            shared,
            _closer: closer,
        })
    }

    /// Appends one rendered line, or counts it as dropped if the buffer is full.
    pub fn append(&self, line: &[u8]) {
        let mut buffer = self.shared.buffer.lock();
        let before = buffer.bytes.len();
        if before + line.len() > CAPACITY_BYTES {
            drop(buffer);
            self.shared.dropped.inc();
            return;
        }
        buffer.bytes.extend_from_slice(line);
        let after = buffer.bytes.len();
        drop(buffer);
        // Wake the writer on the first line after a pause, and once more when much has come.
        if before == 0 || (before < EAGER_BYTES && after >= EAGER_BYTES) {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until everything appended so far is written, at most `limit`. Blocks: only for
    /// the end of a process and tests. Returns whether all was written in time.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut buffer = self.shared.buffer.lock();
        while !buffer.bytes.is_empty() || buffer.writing {
            if self
                .shared
                .emptied
                .wait_until(&mut buffer, deadline)
                .timed_out()
            {
                return buffer.bytes.is_empty() && !buffer.writing;
            }
        }
        true
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

fn run(shared: &Shared, mut out: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let mut buffer = shared.buffer.lock();
        while buffer.bytes.is_empty() {
            if buffer.closed {
                return;
            }
            shared.filled.wait(&mut buffer);
        }
        if !buffer.closed && buffer.bytes.len() < EAGER_BYTES {
            // Let more lines gather, so that a busy proxy writes 20 times a second.
            shared.filled.wait_for(&mut buffer, INTERVAL);
        }
        std::mem::swap(&mut batch, &mut buffer.bytes);
        buffer.writing = true;
        drop(buffer);
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            // Nowhere to complain to that is not this log; count what is lost.
            shared
                .dropped
                .add(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        batch.clear();
        shared.buffer.lock().writing = false;
        shared.emptied.notify_all();
    }
}
