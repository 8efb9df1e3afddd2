//! Messages with descriptors between two processes (`SCM_RIGHTS` over a `SOCK_SEQPACKET` pair).
//!
//! One message is one packet: it arrives whole or not at all, with the descriptors that belong to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::unix::AsyncFd;

/// Longest message in bytes; longer ones are refused by [`Channel::send`].
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Most descriptors in one message.
pub const MAX_DESCRIPTORS: usize = 4;

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// The bytes as sent.
    pub bytes: Vec<u8>,
    /// At most [`MAX_DESCRIPTORS`], close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a channel; any number of tasks may send and receive at once.
#[derive(Debug)]
pub struct Channel {
    socket: AsyncFd<OwnedFd>,
}

/// Makes the two ends of a channel, close-on-exec and non-blocking; each becomes a [`Channel`] in the
/// process that uses it.
///
/// # Errors
/// As `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

impl Channel {
    /// Takes one end of [`pair`]; needs a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be polled.
    #[allow(unsafe_code)]
    pub fn new(socket: OwnedFd) -> io::Result<Channel> {
        // SAFETY: the descriptor is owned, stays open and the same until the AsyncFd is dropped.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Channel { socket })
    }

    /// Sends one message; waits while the other end's queue is full.
    ///
    /// # Errors
    /// `InvalidInput` above [`MAX_MESSAGE_BYTES`] or [`MAX_DESCRIPTORS`]; `BrokenPipe` when the other end
    /// is gone.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.is_empty()
            || bytes.len() > MAX_MESSAGE_BYTES
            || descriptors.len() > MAX_DESCRIPTORS
        {
            let message = format!(
                "message of {} bytes, {} descriptors",
                bytes.len(),
                descriptors.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(result) = ready.try_io(|socket| send(socket.as_raw_fd(), bytes, descriptors))
            {
                return result;
            }
        }
    }

    /// Receives one message; `None` when the other end is closed (its process is gone).
    ///
    /// # Errors
    /// As `recvmsg(2)`.
    pub async fn receive(&self) -> io::Result<Option<Message>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.as_raw_fd())) {
                Ok(Ok(message)) if message.bytes.is_empty() => return Ok(None),
                Ok(result) => return result.map(Some),
                Err(_would_block) => {}
            }
        }
    }
}

fn send(socket: RawFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

#[allow(unsafe_code)]
fn receive(socket: RawFd) -> io::Result<Message> {
    let mut bytes = vec![0; MAX_MESSAGE_BYTES];
    let mut control = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let (length, descriptors) = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<()>(
            socket,
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just installed these descriptors for us; nobody else knows them.
                descriptors.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        (received.bytes, descriptors)
    };
    bytes.truncate(length);
    Ok(Message { bytes, descriptors })
}

#[cfg(test)]
mod tests;
