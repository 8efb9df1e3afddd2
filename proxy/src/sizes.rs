//! What a connection costs in memory beside its TLS state: its futures and what they hold themselves. A
//! bound that fails here is memory that every idle connection would take. The first three futures are
//! freed before a connection is served; they bound what many handshakes at a time take.

use std::future::Future;

use crate::detect::Prefixed;
use crate::listen::connection::Connection;
use crate::tls::{ClientStream, ServerStream};
use crate::{gateway, http, inbound, outbound, tcp};

/// Bytes of the future that a function of two arguments returns.
fn of_two<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
    size_of::<F>()
}

/// The same of three arguments.
fn of_three<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn connections_stay_small() {
    let sizes = [
        ("connection", size_of::<Connection>(), 416),
        ("accepted stream", size_of::<ServerStream>(), 80),
        ("upstream stream", size_of::<ClientStream>(), 48),
        ("socket", size_of::<Prefixed<tokio::net::TcpStream>>(), 80),
        ("inbound::serve", of_two(inbound::serve), 1280),
        ("outbound::serve", of_two(outbound::serve), 1280),
        ("gateway::serve", of_three(gateway::serve), 1280),
        ("tcp::serve", of_three(tcp::serve), 1280),
        ("http::serve", of_three(http::serve), 832),
    ];
    for (what, bytes, most) in sizes {
        assert!(bytes <= most, "{what} has {bytes} bytes, at most {most}");
    }
}
