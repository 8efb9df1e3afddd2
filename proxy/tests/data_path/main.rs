//! The data path in one process: a worker with a configuration compiled from real xDS, clients
//! and servers over loopback. Every test ends by asserting that nothing is left.
#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "helpers of tests fail by panicking, and a test runs once"
)]

mod bound;
mod drain;
mod http1;
mod http2;
mod lifecycle;
mod mtls;
mod pair;
mod policy;
mod resilience;
mod rig;
mod tcp;
mod upgrade;
mod xds;
