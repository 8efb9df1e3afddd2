//! What is known of a finished request or connection.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::ResponseFlags;

/// One finished request or connection. Borrowed, so that filling it costs no allocation; use
/// `Record { .., ..Record::at(start) }`.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Wall-clock time of the first byte.
    pub start: SystemTime,
    /// From the first byte to the last byte sent.
    pub duration: Option<Duration>,
    /// From the first byte received to the first byte of the response, `%RESPONSE_DURATION%`.
    pub response_duration: Option<Duration>,
    /// `HTTP/1.1` and the like; `None` for TCP.
    pub protocol: Option<&'a str>,
    /// `:METHOD`.
    pub method: Option<&'a str>,
    /// `:PATH` as it was sent upstream, with its query.
    pub path: Option<&'a str>,
    /// `:AUTHORITY`.
    pub authority: Option<&'a str>,
    /// `:SCHEME`.
    pub scheme: Option<&'a str>,
    /// Request headers.
    pub request_headers: Option<&'a HeaderMap>,
    /// Response headers.
    pub response_headers: Option<&'a HeaderMap>,
    /// Response trailers.
    pub response_trailers: Option<&'a HeaderMap>,
    /// Status code; 0 if no response was sent.
    pub response_code: u16,
    /// Who chose the status and why, such as `via_upstream`.
    pub response_code_details: Option<&'a str>,
    /// Why the connection was ended by us.
    pub connection_termination_details: Option<&'a str>,
    /// Why the TLS handshake or connection to the upstream failed.
    pub upstream_transport_failure_reason: Option<&'a str>,
    /// Flags of the response.
    pub flags: ResponseFlags,
    /// Body bytes received from the client (TCP: bytes).
    pub bytes_received: u64,
    /// Body bytes sent to the client (TCP: bytes).
    pub bytes_sent: u64,
    /// From sending the request upstream to its response headers: the fallback of
    /// `%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%`.
    pub upstream_service_time: Option<Duration>,
    /// Address of the chosen endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// Name of the cluster.
    pub upstream_cluster: Option<&'a str>,
    /// Our address on the upstream connection.
    pub upstream_local_address: Option<SocketAddr>,
    /// Times the request was sent upstream.
    pub upstream_attempts: u32,
    /// Address that the client connected to (the original destination where redirected).
    pub downstream_local_address: Option<SocketAddr>,
    /// Address of the client, from the forwarding headers where they are trusted.
    pub downstream_remote_address: Option<SocketAddr>,
    /// Address of the connection's other end.
    pub downstream_direct_remote_address: Option<SocketAddr>,
    /// SNI of the client's handshake.
    pub requested_server_name: Option<&'a str>,
    /// Name of the route.
    pub route_name: Option<&'a str>,
    /// SPIFFE id of the client.
    pub downstream_peer_uri_san: Option<&'a str>,
    /// SPIFFE id of the upstream.
    pub upstream_peer_uri_san: Option<&'a str>,
}

impl Record<'_> {
    /// A record that started at `start`, of which nothing else is known.
    pub const fn at(start: SystemTime) -> Self {
        Self {
            start,
            duration: None,
            response_duration: None,
            protocol: None,
            method: None,
            path: None,
            authority: None,
            scheme: None,
            request_headers: None,
            response_headers: None,
            response_trailers: None,
            response_code: 0,
            response_code_details: None,
            connection_termination_details: None,
            upstream_transport_failure_reason: None,
            flags: ResponseFlags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            upstream_service_time: None,
            upstream_host: None,
            upstream_cluster: None,
            upstream_local_address: None,
            upstream_attempts: 0,
            downstream_local_address: None,
            downstream_remote_address: None,
            downstream_direct_remote_address: None,
            requested_server_name: None,
            route_name: None,
            downstream_peer_uri_san: None,
            upstream_peer_uri_san: None,
        }
    }
}
