//! Pipes through which the kernel moves bytes from one socket to another without a copy to user
//! space (`splice(2)`).
//!
//! A splice into a socket whose peer has gone raises `SIGPIPE`, which Rust's start-up code ignores:
//! callers see `BrokenPipe`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// A pipe that is filled from one socket and drained into another.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// Makes an empty pipe for `capacity` bytes.
    ///
    /// It gets less where the user's limit is reached (`/proc/sys/fs/pipe-user-pages-soft`) or the
    /// system's is lower (`pipe-max-size`): see [`capacity`](Self::capacity).
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` out of descriptors or pipes.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let wanted = i32::try_from(capacity).unwrap_or(i32::MAX);
        let capacity = match fcntl(&writer, FcntlArg::F_SETPIPE_SZ(wanted)) {
            Ok(capacity) => capacity,
            Err(_refused) => fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?,
        };
        Ok(Self {
            reader,
            writer,
            capacity: usize::try_from(capacity).unwrap_or(0),
            held: 0,
        })
    }

    /// Bytes that the pipe can hold at least, if they come in whole pages.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what `socket` has received, and the pipe has room for, into the pipe.
    ///
    /// Returns the number of bytes. 0 is the end of the stream, unless the next byte is urgent data,
    /// behind which the end may wait: only an ordinary read gets past such a byte.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing to move, no room, or urgent data comes next. Otherwise as a
    /// read from the socket.
    pub fn fill(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        let moved = splice(socket, None, &self.writer, None, self.capacity, flags)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe into `socket` and returns their number.
    ///
    /// # Errors
    /// `WouldBlock` if the socket takes none now. Otherwise as a write to the socket.
    pub fn drain(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        // No more than is there: asked for more, the kernel would hold back the last segment for it.
        let moved = splice(&self.reader, None, socket, None, self.held, flags)?;
        self.held -= moved;
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    /// Both ends of a loopback connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn carries_bytes_and_the_end_from_socket_to_socket() {
        let (mut sender, from) = connection();
        let (to, mut receiver) = connection();
        let mut pipe = Pipe::new(1 << 16).unwrap();
        assert!(pipe.capacity() >= 4096);
        sender.write_all(b"through the kernel").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 18);
        assert_eq!(pipe.held(), 18);
        assert_eq!(pipe.drain(&to).unwrap(), 18);
        assert_eq!(pipe.held(), 0);
        let mut got = [0; 18];
        receiver.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"through the kernel");
        sender.shutdown(Shutdown::Write).unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 0);
    }

    #[test]
    fn would_block_on_an_empty_and_on_a_full_socket() {
        let (mut sender, from) = connection();
        let (to, _receiver) = connection();
        for socket in [&sender, &from, &to] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut pipe = Pipe::new(1 << 16).unwrap();
        let empty = pipe.fill(&from).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let full = loop {
            // The sender's buffer may be full for a moment; what it sent before is on its way.
            let _ = sender.write(&[7; 4096]);
            if pipe.held() == 0 {
                let _ = pipe.fill(&from);
            }
            if pipe.held() > 0
                && let Err(error) = pipe.drain(&to)
            {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(pipe.held() > 0);
    }

    #[test]
    fn says_that_the_receiver_has_gone() {
        let (mut sender, from) = connection();
        let (to, receiver) = connection();
        drop(receiver);
        let mut pipe = Pipe::new(1 << 16).unwrap();
        let error = loop {
            sender.write_all(b"x").unwrap();
            pipe.fill(&from).unwrap();
            if let Err(error) = pipe.drain(&to) {
                break error;
            }
        };
        assert!(matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
    }
}
