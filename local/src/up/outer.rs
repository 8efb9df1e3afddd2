//! The outer process: starts the inner one and answers its requests.

use std::ffi::OsString;

use super::UpError;

/// How the inner process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InnerExit {
    /// It returned this exit code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// The outer side; dropping it kills the inner process and everything in it.
#[derive(Debug)]
pub struct Outer {}

impl Outer {
    /// Starts ourselves (`/proc/self/exe`) with `arguments` as the inner process, standard streams inherited.
    ///
    /// Call it on the main thread (the kernel kills the inner process when the calling *thread* ends) and
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`UpError::Forbidden`] names the setting that forbids namespaces; [`UpError::Io`] else.
    pub fn start(arguments: &[OsString]) -> Result<Outer, UpError> {
        let _ = arguments;
        todo!()
    }

    /// Asks the inner process to end: its [`Host::terminated`](super::Host::terminated) completes.
    ///
    /// # Errors
    /// [`UpError::Io`] when it is gone already.
    pub async fn terminate(&self) -> Result<(), UpError> {
        todo!()
    }

    /// Answers requests until the inner process has ended. Cancel safe.
    ///
    /// # Errors
    /// [`UpError::Io`] when the inner process cannot be waited for.
    pub async fn run(&self) -> Result<InnerExit, UpError> {
        todo!()
    }
}
