//! The data plane: sidecar and gateway.
//!
//! Control side, on its own thread: [`bootstrap`] (settings), [`control`] (xDS),
//! [`certs`] (certificate), [`admin`] and [`status`] (HTTP interfaces). Data path, one thread per
//! worker. Both meet in [`state::Shared`].

pub mod bootstrap;
pub mod certs;
pub mod state;
