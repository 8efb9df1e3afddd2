//! Header additions and removals with Envoy's `%COMMANDS%`.

use std::net::SocketAddr;

use http::HeaderMap;

use crate::view::RequestView;

/// Compiled header changes of one level.
#[derive(Debug, Default)]
pub struct HeaderMutations {}

/// Where `%COMMANDS%` take their values from. What isn't known yet is `None` and prints `-`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormatContext<'a> {
    /// The request as it came (before mutations).
    pub request: Option<RequestView<'a>>,
    /// The response's headers, for response mutations.
    pub response: Option<&'a HeaderMap>,
    /// The response's status.
    pub status: Option<u16>,
    /// The client, x-forwarded-for considered.
    pub downstream_remote: Option<SocketAddr>,
    /// The connection's peer.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// Original destination of the connection.
    pub downstream_local: Option<SocketAddr>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: Option<&'a str>,
    /// SNI of the client.
    pub server_name: Option<&'a str>,
    /// URI name in the client's certificate.
    pub peer_uri: Option<&'a str>,
    /// URI name in our certificate.
    pub local_uri: Option<&'a str>,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// The cluster.
    pub upstream_cluster: Option<&'a str>,
    /// The route's name.
    pub route_name: Option<&'a str>,
}

impl HeaderMutations {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
