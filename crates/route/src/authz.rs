//! Role-based access control, HTTP and network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::view::RequestView;

pub mod strings;

/// A compiled RBAC filter.
#[derive(Debug)]
pub struct Rbac {}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct AuthzInput<'a> {
    /// The connection's peer.
    pub direct_remote: SocketAddr,
    /// The client, x-forwarded-for considered (equal to `direct_remote` without it).
    pub remote: IpAddr,
    /// Original destination of the connection.
    pub destination: SocketAddr,
    /// SNI.
    pub server_name: Option<&'a str>,
    /// The peer's verified URI name (`spiffe://...`); `None` without a verified certificate.
    pub principal: Option<&'a str>,
    /// The connection is TLS.
    pub tls: bool,
    /// The request; `None` for network filters.
    pub request: Option<&'a RequestView<'a>>,
}

/// The decision, with the policy that made it.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Go on.
    Allow {
        /// The ALLOW policy that matched, if any.
        policy: Option<&'a Arc<str>>,
    },
    /// 403 `RBAC: access denied`; close for a connection.
    Deny {
        /// The DENY policy that matched; `None`: no ALLOW policy did.
        policy: Option<&'a Arc<str>>,
    },
}

impl Verdict<'_> {
    /// Go on.
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

impl Rbac {
    /// Decides. No allocation.
    pub fn decide(&self, input: &AuthzInput<'_>) -> Verdict<'_> {
        let _ = input;
        todo!()
    }
}
