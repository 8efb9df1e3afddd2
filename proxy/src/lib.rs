//! The data plane: sidecar and gateway.
//!
//! Control side, on its own thread: [`bootstrap`] (settings), [`control`] (xDS),
//! [`certs`] (certificate), [`admin`] and [`status`] (HTTP interfaces). Data path, one thread per
//! worker. Both meet in [`state::Shared`].

pub mod admin;
pub mod bootstrap;
pub mod capture;
pub mod certs;
pub mod control;
pub mod state;
pub mod status;

pub mod detect;
pub mod gateway;
pub mod http;
pub mod http1;
pub mod http2;
pub mod inbound;
pub mod listen;
pub mod metrics;
pub mod outbound;
pub mod peer;
pub mod tcp;
pub mod tls;
pub mod upstream;
pub mod worker;

#[cfg(test)]
mod sizes;
