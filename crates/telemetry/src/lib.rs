//! Logs, metrics, access log, trace headers and drain, for every binary of the mesh.
//!
//! Nothing here blocks a data thread: metric handles are private atomic cells that are
//! summed at scrape, and access-log lines go through a bounded buffer to a thread of their own.

pub mod access_log;
pub mod drain;
pub mod log;
pub mod metrics;
pub mod trace;
