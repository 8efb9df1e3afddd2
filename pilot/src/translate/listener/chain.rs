//! Which inbound filter chains a port needs: the mTLS mode times the port's protocol.
//!
//! Source: Istio's inbound filter chain matches.

use mesh_config::{Protocol, peer_authentication::MtlsMode};

use crate::translate::tls::{MESH_HTTP_ALPN, MESH_TCP_ALPN};

/// ALPN values that the HTTP inspector finds in plain text.
pub(super) const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// What a listener filter found out about the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A TLS hello.
    Tls,
    /// Anything else.
    Plain,
}

impl Transport {
    /// As in a filter chain match.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Plain => "raw_buffer",
        }
    }
}

/// One filter chain of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The transport that it takes.
    pub(super) transport: Transport,
    /// The ALPN values that it takes; empty for any.
    pub(super) alpn: Vec<&'static str>,
    /// HTTP, or bytes.
    pub(super) http: bool,
    /// Whether it terminates mesh mTLS.
    pub(super) terminates: bool,
}

fn chain(transport: Transport, alpn: &[&'static str], http: bool, terminates: bool) -> Chain {
    Chain {
        transport,
        alpn: alpn.to_vec(),
        http,
        terminates,
    }
}

/// The chains of a port, for a mode and a protocol.
pub(super) fn of(mode: MtlsMode, protocol: Protocol) -> Vec<Chain> {
    use Transport::{Plain, Tls};
    let all_mesh: Vec<&'static str> = MESH_TCP_ALPN.into_iter().chain(MESH_HTTP_ALPN).collect();
    let http = protocol.is_http();
    if protocol == Protocol::Undeclared {
        return match mode {
            MtlsMode::Strict => vec![
                chain(Tls, &MESH_HTTP_ALPN, true, true),
                chain(Tls, &[], false, true),
            ],
            MtlsMode::Permissive => vec![
                chain(Tls, &MESH_HTTP_ALPN, true, true),
                chain(Plain, &PLAIN_HTTP, true, false),
                chain(Tls, &MESH_TCP_ALPN, false, true),
                chain(Plain, &[], false, false),
                // TLS of the application's own.
                chain(Tls, &[], false, false),
            ],
            MtlsMode::Disable => vec![
                chain(Plain, &PLAIN_HTTP, true, false),
                chain(Plain, &[], false, false),
                chain(Tls, &[], false, false),
            ],
        };
    }
    match mode {
        MtlsMode::Strict => vec![chain(Tls, &[], http, true)],
        MtlsMode::Permissive if http => vec![
            chain(Tls, &all_mesh, true, true),
            chain(Plain, &[], true, false),
        ],
        MtlsMode::Permissive => vec![
            chain(Tls, &all_mesh, false, true),
            chain(Tls, &[], false, false),
            chain(Plain, &[], false, false),
        ],
        MtlsMode::Disable if http => vec![chain(Plain, &[], true, false)],
        MtlsMode::Disable => vec![
            chain(Plain, &[], false, false),
            chain(Tls, &[], false, false),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_ports_have_no_plain_chain() {
        for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Undeclared] {
            let chains = of(MtlsMode::Strict, protocol);
            assert!(chains.iter().all(|chain| chain.terminates), "{protocol}");
        }
    }

    #[test]
    fn permissive_http_ports_serve_both() {
        let chains = of(MtlsMode::Permissive, Protocol::Http);
        assert_eq!(chains.iter().filter(|chain| chain.terminates).count(), 1);
        assert_eq!(chains.len(), 2);
    }
}
