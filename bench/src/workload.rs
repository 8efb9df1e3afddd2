//! What is measured.

use std::time::Duration;

use crate::place::{self, Lane, Protocol};

/// A kind of load on a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Workload {
    /// For the command line and for results.
    pub(crate) name: &'static str,
    /// The way.
    pub(crate) lane: Lane,
    /// Connections of the load generator.
    pub(crate) connections: usize,
    /// Requests at once on each.
    pub(crate) streams: usize,
    /// Bytes of an answer.
    pub(crate) body: usize,
    /// Requests a second; `None`: saturation.
    pub(crate) rate: Option<u32>,
    /// A connection for each request.
    pub(crate) fresh: bool,
    /// Workers of each proxy.
    pub(crate) workers: usize,
    /// Measured by `--quick`, too: a target rests on it.
    pub(crate) quick: bool,
}

const SMALL: usize = 100;
const MEDIUM: usize = 10 << 10;
const LARGE: usize = 1 << 20;

/// HTTP/1.1 over mTLS at saturation.
pub(crate) const HTTP1: &str = "http1-mtls";
/// The same at a fixed rate.
pub(crate) const HTTP1_1600: &str = "http1-mtls-1600";
/// HTTP/1.1 over mTLS at the rate at which latency is compared.
pub(crate) const HTTP1_1000: &str = "http1-mtls-1000";
/// HTTP/2 over mTLS.
pub(crate) const HTTP2: &str = "http2-mtls";
/// gRPC over mTLS.
pub(crate) const GRPC: &str = "grpc-mtls";
/// TCP over mTLS, small messages.
pub(crate) const TCP: &str = "tcp-mtls";
/// TCP over mTLS, 1 MB.
pub(crate) const TCP_LARGE: &str = "tcp-mtls-1m";
/// TCP, 1 MB.
pub(crate) const TCP_PLAIN_LARGE: &str = "tcp-plain-1m";
/// TCP over mTLS, a handshake for each request.
pub(crate) const HANDSHAKES: &str = "tcp-mtls-fresh";

const fn saturated(name: &'static str, lane: Lane) -> Workload {
    Workload {
        name,
        lane,
        connections: 32,
        streams: 1,
        body: SMALL,
        rate: None,
        fresh: false,
        workers: 1,
        quick: false,
    }
}

const fn multiplexed(name: &'static str, lane: Lane) -> Workload {
    Workload {
        connections: 4,
        streams: 8,
        ..saturated(name, lane)
    }
}

const fn quick(workload: Workload) -> Workload {
    Workload {
        quick: true,
        ..workload
    }
}

const fn bytes(body: usize, workload: Workload) -> Workload {
    Workload { body, ..workload }
}

const fn large(workload: Workload) -> Workload {
    Workload {
        connections: 4,
        ..bytes(LARGE, workload)
    }
}

const fn at(rate: u32, workload: Workload) -> Workload {
    Workload {
        connections: 16,
        rate: Some(rate),
        ..workload
    }
}

const fn over(connections: usize, workload: Workload) -> Workload {
    Workload {
        connections,
        ..workload
    }
}

const fn fresh(workload: Workload) -> Workload {
    Workload {
        connections: 8,
        fresh: true,
        ..workload
    }
}

const fn two_workers(workload: Workload) -> Workload {
    Workload {
        workers: 2,
        ..workload
    }
}

/// Every workload.
pub(crate) const ALL: &[Workload] = &[
    quick(saturated(HTTP1, place::HTTP1)),
    quick(at(1600, saturated(HTTP1_1600, place::HTTP1))),
    quick(at(1000, saturated(HTTP1_1000, place::HTTP1))),
    quick(multiplexed(HTTP2, place::HTTP2)),
    quick(multiplexed(GRPC, place::GRPC)),
    quick(saturated(TCP, place::TCP)),
    quick(large(saturated(TCP_LARGE, place::TCP))),
    quick(large(saturated(TCP_PLAIN_LARGE, place::TCP_PLAIN))),
    quick(fresh(saturated(HANDSHAKES, place::TCP))),
    saturated("http1-plain", place::HTTP1_PLAIN),
    multiplexed("http2-plain", place::HTTP2_PLAIN),
    multiplexed("grpc-plain", place::GRPC_PLAIN),
    saturated("tcp-plain", place::TCP_PLAIN),
    over(1, saturated("http1-mtls-c1", place::HTTP1)),
    over(1000, saturated("http1-mtls-c1000", place::HTTP1)),
    over(1000, saturated("tcp-mtls-c1000", place::TCP)),
    bytes(MEDIUM, saturated("http1-mtls-10k", place::HTTP1)),
    large(saturated("http1-mtls-1m", place::HTTP1)),
    bytes(MEDIUM, multiplexed("http2-mtls-10k", place::HTTP2)),
    large(saturated("http2-mtls-1m", place::HTTP2)),
    bytes(MEDIUM, multiplexed("grpc-mtls-10k", place::GRPC)),
    at(1000, saturated("http1-plain-1000", place::HTTP1_PLAIN)),
    at(1000, saturated("http2-mtls-1000", place::HTTP2)),
    at(1000, saturated("grpc-mtls-1000", place::GRPC)),
    at(1600, saturated("grpc-mtls-1600", place::GRPC)),
    fresh(saturated("http1-mtls-fresh", place::HTTP1_ONCE)),
    fresh(saturated("http1-plain-fresh", place::HTTP1_PLAIN)),
    two_workers(saturated("http1-mtls-w2", place::HTTP1)),
    two_workers(multiplexed("http2-mtls-w2", place::HTTP2)),
    two_workers(multiplexed("grpc-mtls-w2", place::GRPC)),
    two_workers(saturated("tcp-mtls-w2", place::TCP)),
    two_workers(over(1000, saturated("http1-mtls-w2-c1000", place::HTTP1))),
];

impl Workload {
    /// A sentence about it.
    pub(crate) fn describe(&self) -> String {
        let protocol = match self.lane.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Grpc => "gRPC",
            Protocol::Tcp => "TCP",
        };
        let security = if self.lane.mtls { "mTLS" } else { "plaintext" };
        let size = match self.body {
            LARGE => "1 MiB".to_owned(),
            MEDIUM => "10 KiB".to_owned(),
            other => format!("{other} B"),
        };
        let load = match self.rate {
            None => "saturated".to_owned(),
            Some(rate) => format!("{rate}/s"),
        };
        let connections = match (self.fresh, self.streams) {
            (true, _) => format!("{} clients, a connection per request", self.connections),
            (false, 1) => format!("{} connections", self.connections),
            (false, streams) => format!("{} connections of {streams} streams", self.connections),
        };
        let workers = if self.workers == 1 { "" } else { ", 2 workers" };
        format!("{protocol}, {security}, {size}, {load}, {connections}{workers}")
    }
}

/// How long a workload is warmed up and measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Before the measurement.
    pub(crate) warm_up: Duration,
    /// The measurement.
    pub(crate) measure: Duration,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_streams_are_of_http2() {
        let names: BTreeSet<&str> = ALL.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), ALL.len());
        for workload in ALL {
            let multiplexes = matches!(workload.lane.protocol, Protocol::Http2 | Protocol::Grpc);
            assert!(workload.streams == 1 || multiplexes, "{}", workload.name);
        }
    }

    #[test]
    fn describes() {
        assert_eq!(
            ALL[0].describe(),
            "HTTP/1.1, mTLS, 100 B, saturated, 32 connections"
        );
    }
}
