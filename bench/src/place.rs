//! Where everything listens: lanes (a protocol with or without mutual TLS between the proxies), the ports
//! of every process, and the check that they are free.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The pod of the client: its proxy takes the application's connections on the loopback.
pub(crate) const CLIENT_POD: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 1);
/// The pod of the server: its proxy takes the peers' connections here.
pub(crate) const SERVER_POD: Ipv4Addr = Ipv4Addr::new(127, 77, 2, 1);

/// Host that the load generator asks for.
pub(crate) const HOST: &str = "server.bench";

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS from the application, with or without it between the proxies.
    Http2,
    /// gRPC, unary.
    Grpc,
    /// Bytes.
    Tcp,
}

/// A way from the load generator to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// For names of ports and configuration.
    pub(crate) name: &'static str,
    /// What is spoken on it.
    pub(crate) protocol: Protocol,
    /// Mutual TLS between the proxies.
    pub(crate) mtls: bool,
    /// The client's proxy uses each connection to the server's proxy for one request only.
    pub(crate) once: bool,
    offset: u16,
}

const fn lane(offset: u16, name: &'static str, protocol: Protocol, mtls: bool) -> Lane {
    Lane {
        name,
        protocol,
        mtls,
        once: false,
        offset,
    }
}

/// HTTP/1.1 over mTLS.
pub(crate) const HTTP1: Lane = lane(0, "http-mtls", Protocol::Http1, true);
/// HTTP/1.1.
pub(crate) const HTTP1_PLAIN: Lane = lane(1, "http-plain", Protocol::Http1, false);
/// HTTP/2 over mTLS.
pub(crate) const HTTP2: Lane = lane(2, "http2-mtls", Protocol::Http2, true);
/// HTTP/2.
pub(crate) const HTTP2_PLAIN: Lane = lane(3, "http2-plain", Protocol::Http2, false);
/// gRPC over mTLS.
pub(crate) const GRPC: Lane = lane(4, "grpc-mtls", Protocol::Grpc, true);
/// gRPC.
pub(crate) const GRPC_PLAIN: Lane = lane(5, "grpc-plain", Protocol::Grpc, false);
/// TCP over mTLS.
pub(crate) const TCP: Lane = lane(6, "tcp-mtls", Protocol::Tcp, true);
/// TCP.
pub(crate) const TCP_PLAIN: Lane = lane(7, "tcp-plain", Protocol::Tcp, false);
/// HTTP/1.1 over mTLS, one connection per request between the proxies, too.
pub(crate) const HTTP1_ONCE: Lane = Lane {
    once: true,
    ..lane(8, "http-once", Protocol::Http1, true)
};

/// All lanes.
pub(crate) const LANES: [Lane; 9] = [
    HTTP1,
    HTTP1_PLAIN,
    HTTP2,
    HTTP2_PLAIN,
    GRPC,
    GRPC_PLAIN,
    TCP,
    TCP_PLAIN,
    HTTP1_ONCE,
];

/// Port numbers of a run.
const BLOCK: u16 = 64;

/// The port numbers of a run, from [`Ports::base`] on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// The first one.
    pub(crate) base: u16,
}

/// The ports of a run, and what makes other runs choose others.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The ports.
    pub(crate) ports: Ports,
    /// On the last of them, which nobody else uses.
    _listener: Option<TcpListener>,
}

/// Ports of a proxy besides its lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnPorts {
    /// Admin interface.
    pub(crate) admin: u16,
    /// Merged metrics.
    pub(crate) status: u16,
    /// Readiness.
    pub(crate) readiness: u16,
    /// The proxy's metrics.
    pub(crate) metrics: u16,
}

impl Lane {
    /// The lane from the server's proxy on, where connections are kept.
    pub(crate) fn kept(self) -> Self {
        Self {
            once: false,
            ..self
        }
    }
}

impl Ports {
    /// The ports from `base` on, or if none is given the first that nobody uses: between two
    /// contenders of a run, too, when only the claim shows that they are used.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn claim(base: Option<u16>) -> anyhow::Result<Claim> {
        let listen = |base| TcpListener::bind((Ipv4Addr::UNSPECIFIED, base + BLOCK - 1)).ok();
        let claim = |base, listener| Claim {
            ports: Self { base },
            _listener: listener,
        };
        if let Some(base) = base {
            return Ok(claim(base, listen(base)));
        }
        // Below those that the kernel hands out.
        let mut blocks = (24_000..32_000).step_by(BLOCK.into());
        let found = blocks.find_map(|base| {
            let listener = listen(base)?;
            let others: Vec<u16> = (base..base + BLOCK - 1).collect();
            check_free(&others).ok()?;
            Some(claim(base, Some(listener)))
        });
        found.context("no 64 free ports from 24000 to 32000; choose some with --base-port")
    }

    /// The port of a lane, at both proxies.
    pub(crate) fn lane(self, lane: Lane) -> u16 {
        self.base + lane.offset
    }

    /// Where the load generator connects to the client's proxy.
    pub(crate) fn client(self, lane: Lane) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.lane(lane)).into()
    }

    /// Where the client's proxy connects to the server's proxy.
    pub(crate) fn server(self, lane: Lane) -> SocketAddr {
        (SERVER_POD, self.lane(lane)).into()
    }

    /// Where the server's proxy connects to the server.
    pub(crate) fn backend(self, protocol: Protocol) -> SocketAddr {
        let offset = match protocol {
            Protocol::Http1 => 20,
            Protocol::Http2 | Protocol::Grpc => 21,
            Protocol::Tcp => 22,
        };
        (Ipv4Addr::LOCALHOST, self.base + offset).into()
    }

    /// The control plane's: xDS, secure xDS, monitoring.
    pub(crate) fn control(self) -> [u16; 3] {
        [30, 31, 32].map(|offset| self.base + offset)
    }

    /// The further ports of the client's (0) or the server's (1) proxy.
    pub(crate) fn own(self, proxy: u16) -> OwnPorts {
        let first = self.base + 40 + proxy * 10;
        OwnPorts {
            admin: first,
            status: first + 1,
            readiness: first + 2,
            metrics: first + 3,
        }
    }

    /// The port of the many services that are only configured.
    pub(crate) fn mass(self) -> u16 {
        self.base + 60
    }

    /// The ports of the server.
    pub(crate) fn of_server(self) -> Vec<u16> {
        [Protocol::Http1, Protocol::Http2, Protocol::Tcp]
            .map(|protocol| self.backend(protocol).port())
            .into()
    }

    /// The ports of a pair, besides the server's.
    pub(crate) fn of_pair(self) -> Vec<u16> {
        let lanes = LANES.iter().map(|lane| self.lane(*lane));
        lanes.chain([self.mass()]).collect()
    }

    /// The further ports of our pair and its control plane.
    pub(crate) fn of_mesh(self) -> Vec<u16> {
        let own = [0, 1].map(|proxy| self.own(proxy));
        let own = own
            .iter()
            .flat_map(|own| [own.admin, own.status, own.readiness, own.metrics]);
        own.chain(self.control()).collect()
    }
}

/// Fails if one of the ports is taken.
///
/// # Errors
/// Names the port.
pub(crate) fn check_free(ports: &[u16]) -> anyhow::Result<()> {
    let wildcard = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for port in ports {
        TcpListener::bind((wildcard, *port)).with_context(|| {
            format!(
                "port {port} is taken (`ss -ltnp` tells by whom); free it, or choose others with --base-port"
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports = Ports { base: 24000 };
        let all = [ports.of_server(), ports.of_pair(), ports.of_mesh()].concat();
        let distinct: BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
        // The last one is the claim's.
        assert!(all.iter().all(|port| (24000..24063).contains(port)));
    }

    #[test]
    fn runs_at_the_same_time_have_different_ports() {
        let claims = [Ports::claim(None).unwrap(), Ports::claim(None).unwrap()];
        let [first, second] = claims.map(|claim| claim.ports.base);
        assert!(first.abs_diff(second) >= BLOCK);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_free(&[port]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
    }
}
