//! Plaintext in bulk goes from socket to socket inside the kernel, by way of a pipe.
//!
//! A pipe is lent to a direction only while it holds bytes: idle connections have none. Where
//! there is none to lend (out of descriptors, the user's pipes used up), bytes are copied as ever.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use mesh_sys::pipe::Pipe;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::exchange::Exchanged;
use crate::detect::Prefixed;
use crate::tls::{ClientStream, ServerIo};

/// A stream that may be nothing but a socket.
pub trait Bare {
    /// The socket, if its next byte is the stream's next, both ways. Once so, it stays so.
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

impl Bare for TcpStream {
    fn bare(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Bare for ServerIo {
    fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }
}

impl Bare for ClientStream {
    fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }
}

impl<S: Bare> Bare for Prefixed<S> {
    fn bare(&self) -> Option<&TcpStream> {
        self.get_ref().bare().filter(|_| self.prefix().is_empty())
    }
}

impl<S: Bare> Bare for Exchanged<S> {
    fn bare(&self) -> Option<&TcpStream> {
        self.get_ref().bare().filter(|_| self.is_passed())
    }
}

/// What a pipe is made for.
const PIPE_BYTES: usize = 256 * 1024;

/// A smaller one, which is what the kernel gives a user who has too many, costs more than copying.
const USEFUL_BYTES: usize = 64 * 1024;

/// Empty pipes that a worker keeps.
const SPARE: usize = 16;

/// Pipes of a worker, lent and spare: two descriptors each, and what slow readers leave in them is
/// kernel memory.
const LIMIT: usize = 128;

/// How long a worker does without new pipes after it was refused one.
const REFUSED_FOR: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Pool {
    spare: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
    refused: Cell<Option<Instant>>,
}

thread_local! {
    static POOL: Pool = Pool::default();
}

impl Pool {
    fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        let refused = self.refused.get();
        if self.lent.get() >= LIMIT || refused.is_some_and(|at| at.elapsed() < REFUSED_FOR) {
            return None;
        }
        let made = Pipe::new(PIPE_BYTES).ok();
        let made = made.filter(|pipe| pipe.capacity() >= USEFUL_BYTES);
        self.refused.set(made.is_none().then(Instant::now));
        made
    }
}

/// A pipe on loan from the worker's pool, to which it goes back when dropped empty.
#[derive(Debug)]
pub(super) struct Loan(Option<Pipe>);

impl Loan {
    /// `None` if there is none to be had.
    fn new() -> Option<Self> {
        POOL.with(|pool| {
            let pipe = pool.take()?;
            pool.lent.set(pool.lent.get() + 1);
            Some(Self(Some(pipe)))
        })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // A thread that ends has no pool any more.
        let _ = POOL.try_with(|pool| {
            pool.lent.set(pool.lent.get() - 1);
            let mut spare = pool.spare.borrow_mut();
            let empty = self.0.take().filter(|pipe| pipe.held() == 0);
            if spare.len() < SPARE {
                spare.extend(empty);
            }
        });
    }
}

impl Deref for Loan {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Pipe {
        self.0.as_mut().expect("taken only by drop")
    }
}

/// Moves what `from` has received into a pipe; `None` if an ordinary read must tell how it goes on.
///
/// # Errors
/// As a read from the socket.
pub(super) fn fill(from: &TcpStream) -> io::Result<Option<Loan>> {
    let Some(mut pipe) = Loan::new() else {
        return Ok(None);
    };
    // Nothing to move may be the end, or that a byte of urgent data comes next: only an ordinary
    // read gets past that. So tokio must still take the socket for readable.
    let filled = from.try_io(Interest::READABLE, || match pipe.fill(from) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    });
    match filled {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(pipe)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves bytes from the pipe into `to`; how many.
///
/// # Errors
/// As a write to the socket.
pub(super) fn poll_drain(
    cx: &mut Context<'_>,
    pipe: &mut Pipe,
    to: &TcpStream,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(to.poll_write_ready(cx))?;
        match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

#[cfg(test)]
#[path = "splice/tests.rs"]
mod tests;
