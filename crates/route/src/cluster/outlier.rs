//! Outlier detection: endpoints that fail in a row are left out for a while.

/// What an endpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered with this HTTP status (gRPC statuses mapped by the caller).
    Status(u16),
    /// Connection failure, timeout or reset before an answer (locally originated).
    LocalFailure,
    /// A TCP connection was made.
    Connected,
}
