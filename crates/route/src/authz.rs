//! Role-based access control, HTTP and network.
//!
//! Policies are asked in the order of their names (Envoy keeps them in a sorted map), the
//! first that matches decides. An index by exact principal, namespace and exact path
//! leaves out policies that can't match; it only leaves out, so it can't change a verdict.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::view::RequestView;

pub(crate) mod index;
pub(crate) mod rule;

#[cfg(test)]
mod tests;

use index::PolicyIndex;
use rule::Rule;

/// A compiled RBAC filter.
#[derive(Debug)]
pub struct Rbac {
    pub(crate) action: Action,
    pub(crate) policies: Vec<Policy>,
    pub(crate) index: PolicyIndex,
}

/// What a matching policy means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
}

/// One policy: any permission and any principal.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) permissions: Rule,
    pub(crate) principals: Rule,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(crate) fn new(action: Action, policies: Vec<Policy>) -> Self {
        let index = PolicyIndex::build(&policies);
        Self {
            action,
            policies,
            index,
        }
    }

    /// Decides. No allocation.
    pub fn decide(&self, input: &AuthzInput<'_>) -> Verdict<'_> {
        let matched = self
            .index
            .first(input, |at| self.policies[at].matches(input))
            .map(|at| &self.policies[at].name);
        match (self.action, matched) {
            (Action::Allow, Some(_)) => Verdict::Allow { policy: matched },
            (Action::Allow, None) => Verdict::Deny { policy: None },
            (Action::Deny, Some(_)) => Verdict::Deny { policy: matched },
            (Action::Deny, None) => Verdict::Allow { policy: None },
        }
    }
}

impl Policy {
    pub(crate) fn matches(&self, input: &AuthzInput<'_>) -> bool {
        self.permissions.holds(input) && self.principals.holds(input)
    }
}
