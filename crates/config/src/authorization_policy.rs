//! AuthorizationPolicy: who may do what.
//!
//! Source: Istio API `security/v1/authorization_policy.proto`.

use ipnet::IpNet;

use crate::number::PortNumber;
use crate::selector::LabelSelector;

/// Rules for the workloads that the selector picks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuthorizationPolicy {
    /// Workloads; `None` means the whole namespace (or, in the root namespace, the whole mesh).
    pub selector: Option<LabelSelector>,
    /// What happens to requests that match.
    pub action: Action,
    /// Any of these must match. Without rules the policy matches nothing: `ALLOW` then denies
    /// everything, `DENY` does nothing. A rule without conditions matches everything.
    pub rules: Vec<Rule>,
}

/// What happens to requests that match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Allowed; once a workload has such a policy, what none of them allows is denied.
    #[default]
    Allow,
    /// Denied, before any `ALLOW` is looked at.
    Deny,
}

/// Conditions on a request; `from`, `to` and `when` must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Any of these callers; empty for any caller.
    pub from: Vec<SourceRule>,
    /// Any of these operations; empty for any operation.
    pub to: Vec<Operation>,
    /// All of these.
    pub when: Vec<Condition>,
}

/// A list of values of which one must match, and a list of which none may. Empty lists say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Values<T> {
    /// One of these, unless empty.
    pub any: Vec<T>,
    /// None of these.
    pub none: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Values {
            any: Vec::new(),
            none: Vec::new(),
        }
    }
}

impl<T> Values<T> {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }
}

/// A value as policies write it: exact, prefix, suffix or presence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValuePattern {
    /// The whole value.
    Exact(String),
    /// `abc*`.
    Prefix(String),
    /// `*abc`.
    Suffix(String),
    /// `*`: there is a value.
    Present,
}

impl ValuePattern {
    /// The pattern that `text` writes.
    pub fn parse(text: &str) -> ValuePattern {
        if text == "*" {
            ValuePattern::Present
        } else if let Some(suffix) = text.strip_prefix('*') {
            ValuePattern::Suffix(suffix.to_owned())
        } else if let Some(prefix) = text.strip_suffix('*') {
            ValuePattern::Prefix(prefix.to_owned())
        } else {
            ValuePattern::Exact(text.to_owned())
        }
    }
}

/// Path of an operation: a simple pattern, or a URI template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// As any other value.
    Value(ValuePattern),
    /// With `{*}` for one segment and `{**}` for any number of them, for example `/users/{*}/orders/{**}`.
    Template(String),
}

/// Conditions on the caller; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SourceRule {
    /// Identities without `spiffe://`: `cluster.local/ns/default/sa/sleep`.
    pub principals: Values<ValuePattern>,
    /// Namespaces of the identity.
    pub namespaces: Values<ValuePattern>,
    /// Service accounts of the identity, in the mesh's trust domain and its aliases.
    pub service_accounts: Values<ServiceAccountRef>,
    /// Address of the connection's peer.
    pub ip_blocks: Values<IpNet>,
    /// Address of the original client (from `X-Forwarded-For` or PROXY protocol).
    pub remote_ip_blocks: Values<IpNet>,
}

/// A service account; a name without a namespace was resolved to the policy's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccountRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Conditions on the operation; all must hold. `hosts`, `methods` and `paths` exist for HTTP only:
/// on a TCP port an `ALLOW` rule with them never matches and a `DENY` rule ignores them, as Istio.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Hosts of the request; case does not matter.
    pub hosts: Values<ValuePattern>,
    /// Ports of the workload.
    pub ports: Values<PortNumber>,
    /// Methods.
    pub methods: Values<ValuePattern>,
    /// Paths.
    pub paths: Values<PathPattern>,
}

/// One attribute and what its value may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `request.headers[NAME]`.
    RequestHeader {
        /// Lower-case name.
        name: String,
        /// Its values.
        values: Values<ValuePattern>,
    },
    /// `source.ip`: address of the connection's peer.
    SourceIp(Values<IpNet>),
    /// `remote.ip`: address of the original client.
    RemoteIp(Values<IpNet>),
    /// `source.namespace`.
    SourceNamespace(Values<ValuePattern>),
    /// `source.principal`.
    SourcePrincipal(Values<ValuePattern>),
    /// `destination.ip`.
    DestinationIp(Values<IpNet>),
    /// `destination.port`.
    DestinationPort(Values<PortNumber>),
    /// `connection.sni`.
    ConnectionSni(Values<ValuePattern>),
}
