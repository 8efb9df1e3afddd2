//! Cluster DNS: service names on 10.96.0.10:53, everything else asked of the host's resolver.

mod answer;
mod server;
mod zone;

pub(crate) use server::serve;
pub(crate) use zone::{Target, Zone};
