//! xDS compiled to matching, authorization and balancing: the mesh's engine.
//!
//! What: [`Compiler`] takes Envoy v3 resources as they arrive and publishes an
//! immutable [`Snapshot`]; everything a proxy asks on the request path (which
//! listener, chain, virtual host, route, cluster, endpoint; allowed or not; retry or
//! not) is a method of the compiled types. The proxy runs it; pilot's tests and
//! `meshctl explain` ask the very same code.
//!
//! Invariants: no IO, no clock, no random source, no task. Time ([`std::time::Instant`])
//! and randomness (a `u64` from the caller's generator) are arguments. On the request
//! path nothing allocates or locks, except where a method says so. A resource that
//! can't be compiled whole is [`Refused`] by field path and the last good one stays.
//!
//! How a request runs through it:
//!
//! ```text
//! Snapshot::outbound / inbound / bound -> Listener
//! Listener::inspect, Listener::select  -> FilterChain -> Terminal::{Http, Tcp}
//! HttpManager::authorize               -> Verdict
//! Snapshot::route_table(manager)       -> RouteTable::route -> RouteDecision
//! ForwardRoute::{timeouts, retry, hash, fault...}, Matched::{mutate_request, ...}
//! Snapshot::cluster(name)              -> Cluster::pick -> Picked{endpoint, ...}
//! ```

pub mod access_log;
pub mod authz;
pub mod cluster;
mod compile;
pub mod compiler;
mod conditions;
pub mod cors;
pub mod error;
pub mod explain;
pub mod fault;
pub mod hash;
pub mod http_manager;
pub mod listener;
pub mod mutate;
mod names;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod snapshot;
pub mod strings;
pub mod table;
pub mod tcp;
pub mod tls;
pub mod view;

pub use access_log::{AccessLogFilter, AccessLogFormat, AccessLogSpec};
pub use authz::{AuthzInput, Rbac, Verdict};
pub use cluster::{Cluster, Endpoint, PickError, PickRequest, Picked};
pub use compiler::{Applied, Compiler, Rejected, Wanted};
pub use error::Refused;
pub use fault::{Fault, FaultDecision};
pub use http_manager::HttpManager;
pub use listener::{FilterChain, Inspection, Listener, Terminal, Traffic};
pub use mutate::{FormatContext, HeaderMutations};
pub use retry::{Outcome, RetryPolicy};
pub use route::{ForwardRoute, Route, RouteAction};
pub use snapshot::Snapshot;
pub use table::{Matched, RouteDecision, RouteTable, VirtualHost};
pub use tcp::TcpProxy;
pub use tls::{DownstreamTls, Secret, UpstreamTls, UpstreamTransport};
pub use view::{ConnInfo, RequestView};
