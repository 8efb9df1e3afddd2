//! Schema of limits of connections and requests.

use super::super::builder::{Schema, duration, field, flag, int32, object, text, uint32, words};

/// Schema of `ConnectionPoolSettings`.
pub(in crate::schema) fn connection_pool() -> Schema {
    object([
        field("tcp", "Limits of connections.", tcp()),
        field("http", "Limits of requests.", http()),
    ])
}

fn tcp() -> Schema {
    object([
        field(
            "maxConnections",
            "Connections to the service at once; unlimited if left out.",
            int32(),
        ),
        field(
            "connectTimeout",
            "How long connecting may take; 10s if left out.",
            duration(),
        ),
        field(
            "tcpKeepalive",
            "Whether and how to find out that the other side is gone.",
            object([
                field("probes", "Unanswered probes that end it.", uint32()),
                field("time", "Silence before the first probe.", duration()),
                field("interval", "Time between probes.", duration()),
            ]),
        ),
        field(
            "maxConnectionDuration",
            "How long a connection may live.",
            duration(),
        ),
        field(
            "idleTimeout",
            "How long a connection without bytes is kept; 1h if left out, 0s for ever.",
            text(),
        ),
    ])
}

fn http() -> Schema {
    object([
        field(
            "http1MaxPendingRequests",
            "Requests that may wait for a connection.",
            int32(),
        ),
        field("http2MaxRequests", "Requests under way at once.", int32()),
        field(
            "maxRequestsPerConnection",
            "Requests after which a connection is closed; 1 turns keep-alive off.",
            int32(),
        ),
        field("maxRetries", "Retries under way at once.", int32()),
        field(
            "idleTimeout",
            "How long a connection without requests is kept; 1h if left out.",
            duration(),
        ),
        field(
            "h2UpgradePolicy",
            "Whether HTTP/1.1 is sent as HTTP/2.",
            words(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
        ),
        field(
            "useClientProtocol",
            "Speak to the service what the client speaks.",
            flag(),
        ),
        field(
            "maxConcurrentStreams",
            "Requests at once on one HTTP/2 connection.",
            int32(),
        ),
        field(
            "http2KeepAlive",
            "Whether to ping on HTTP/2 connections.",
            object([
                field("interval", "Time between pings.", duration()),
                field("timeout", "How long an answer may take.", duration()),
            ]),
        ),
    ])
}
