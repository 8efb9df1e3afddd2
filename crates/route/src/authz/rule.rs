//! Permissions and principals, one tree type for both.

use ipnet::IpNet;

use crate::authz::AuthzInput;
use crate::conditions::HeaderCondition;
use crate::strings::StringMatcher;

/// A compiled permission or principal.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    /// Always.
    Any,
    Header(HeaderCondition),
    /// The path without query.
    Path(StringMatcher),
    DestinationIp(IpNet),
    DestinationPort(u16),
    /// From (included) and to (not included).
    DestinationPorts(u32, u32),
    ServerName(StringMatcher),
    /// A verified identity; without a matcher, TLS is enough.
    Authenticated(Option<StringMatcher>),
    /// The connection's peer.
    DirectRemote(IpNet),
    /// The client, x-forwarded-for considered.
    Remote(IpNet),
}

impl Rule {
    pub(crate) fn holds(&self, input: &AuthzInput<'_>) -> bool {
        match self {
            Self::And(rules) => rules.iter().all(|rule| rule.holds(input)),
            Self::Or(rules) => rules.iter().any(|rule| rule.holds(input)),
            Self::Not(rule) => !rule.holds(input),
            Self::Any => true,
            Self::Header(condition) => input
                .request
                .is_some_and(|request| condition.holds(request)),
            Self::Path(matcher) => input
                .request
                .is_some_and(|request| matcher.matches(request.path_only())),
            Self::DestinationIp(net) => net.contains(&input.destination.ip().to_canonical()),
            Self::DestinationPort(port) => input.destination.port() == *port,
            Self::DestinationPorts(from, to) => {
                (*from..*to).contains(&u32::from(input.destination.port()))
            }
            Self::ServerName(matcher) => matcher.matches(input.server_name.unwrap_or("")),
            Self::Authenticated(None) => input.tls,
            Self::Authenticated(Some(matcher)) => {
                input.principal.is_some_and(|name| matcher.matches(name))
            }
            Self::DirectRemote(net) => net.contains(&input.direct_remote.ip().to_canonical()),
            Self::Remote(net) => net.contains(&input.remote.to_canonical()),
        }
    }
}
