//! Probes: what the kubelet asks a container, when, and what it concludes.
//!
//! [`Machine`] is the pure part (thresholds); [`run`] executes the probes of one run of a
//! container from the node's network namespace against the pod's address ([`check`]).

mod check;
mod machine;
mod worker;

pub(crate) use check::request;
pub(crate) use check::{ExecProbe, Target};
pub(crate) use machine::{Machine, Schedule};
pub(crate) use worker::{Verdicts, named_ports, run};
