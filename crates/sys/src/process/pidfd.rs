//! A process by descriptor: no race with the reuse of its number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A child process, whatever becomes of its number.
#[derive(Debug)]
pub struct PidFd {
    descriptor: AsyncFd<OwnedFd>,
}

impl PidFd {
    /// Opens process `pid`, a child of ours that has not been waited for; needs a tokio runtime.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process.
    #[allow(unsafe_code)]
    pub fn open(pid: u32) -> io::Result<PidFd> {
        // SAFETY: numbers only.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
        let raw = i32::try_from(Errno::result(result)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened it for us, close-on-exec.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: the descriptor is owned, stays open and the same until the AsyncFd is dropped.
        let descriptor = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) }?;
        Ok(PidFd { descriptor })
    }

    /// Completes when the process has ended (it may still have to be waited for).
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn ended(&self) -> io::Result<()> {
        self.descriptor.readable().await.map(drop)
    }

    /// Sends signal `number`.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    #[allow(unsafe_code)]
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let raw = self.descriptor.as_raw_fd();
        // SAFETY: numbers and a null siginfo, which means "as kill does".
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                raw,
                number,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.get_ref().as_fd()
    }
}
