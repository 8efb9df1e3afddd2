//! Why a decision came out as it did, rule by rule; for people, never on the request path.

use std::fmt::{self, Write as _};

use crate::authz::{AuthzInput, Rbac, Verdict};
use crate::conditions::{HeaderCondition, HeaderKey};
use crate::listener::{Listener, chain_match};
use crate::route::Route;
use crate::table::matcher::Mismatch;
use crate::table::{RouteDecision, RouteTable, VirtualHost};
use crate::view::{ConnInfo, RequestView};

/// A trace: one line per rule looked at, the decision last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Lines in order.
    pub lines: Vec<String>,
}

impl Explanation {
    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl RouteTable {
    /// Why [`RouteTable::route`] decides as it does.
    pub fn explain(&self, request: &RequestView<'_>, random: u64) -> Explanation {
        let mut explanation = Explanation::default();
        let Some(host) = self.host(request.authority) else {
            explanation.say(format!(
                "route table {:?}: no virtual host has a domain for {:?}",
                self.name, request.authority
            ));
            explanation.say("not found: 404 NR");
            return explanation;
        };
        explanation.say(format!(
            "route table {:?}: {:?} is virtual host {:?} (domains {})",
            self.name,
            request.authority,
            host.name,
            host.domains.join(", ")
        ));
        explain_routes(&mut explanation, host, request, random);
        explanation.say(match self.route(request, random) {
            RouteDecision::Forward { cluster, .. } => {
                format!("forward to cluster {:?}", cluster.name)
            }
            RouteDecision::Redirect { redirect, .. } => {
                format!(
                    "redirect {} to {}",
                    redirect.status,
                    redirect.location(request)
                )
            }
            RouteDecision::Direct { status, .. } => format!("answer {status} directly"),
            RouteDecision::RequireTls => {
                "redirect 301 to https: the virtual host requires TLS".to_owned()
            }
            RouteDecision::NotFound => "not found: 404 NR".to_owned(),
        });
        explanation
    }
}

fn explain_routes(
    explanation: &mut Explanation,
    host: &VirtualHost,
    request: &RequestView<'_>,
    random: u64,
) {
    for (at, route) in host.routes.iter().enumerate() {
        match route.matcher.mismatch(request, random) {
            Some(mismatch) => explanation.say(format!(
                "route {at} {:?}: {}",
                route.name,
                mismatch_text(route, mismatch)
            )),
            None => {
                explanation.say(format!("route {at} {:?}: matches", route.name));
                return;
            }
        }
    }
}

fn mismatch_text(route: &Route, mismatch: Mismatch) -> String {
    let matcher = &route.matcher;
    match mismatch {
        Mismatch::Path => format!("path doesn't match {:?}", matcher.path),
        Mismatch::Header(at) => {
            format!("header {} doesn't match", header_text(&matcher.headers[at]))
        }
        Mismatch::Query(at) => {
            format!("query parameter {:?} doesn't match", matcher.query[at].name)
        }
        Mismatch::Grpc => "not a gRPC request".to_owned(),
        Mismatch::Fraction => "not in the share of requests it is for".to_owned(),
    }
}

fn header_text(condition: &HeaderCondition) -> String {
    let mut text = match &condition.name {
        HeaderKey::Path => ":path".to_owned(),
        HeaderKey::Method => ":method".to_owned(),
        HeaderKey::Authority => ":authority".to_owned(),
        HeaderKey::Scheme => ":scheme".to_owned(),
        HeaderKey::Field(name) => name.to_string(),
    };
    let inverted = if condition.invert { " (inverted)" } else { "" };
    write!(text, " {:?}{inverted}", condition.test).expect("writing to a String can't fail");
    text
}

impl Listener {
    /// Why [`Listener::select`] decides as it does.
    pub fn explain(&self, connection: &ConnInfo<'_>) -> Explanation {
        let mut explanation = Explanation::default();
        explanation.say(format!(
            "listener {:?}: {} chains for a connection to {}",
            self.name,
            self.chains.len(),
            connection.destination
        ));
        let names = |left: &[usize]| {
            let names: Vec<String> = left
                .iter()
                .map(|at| format!("{at} {:?}", self.chains[*at].name))
                .collect();
            names.join(", ")
        };
        let mut before = self.matches.len();
        let chosen = chain_match::narrow(&self.matches, connection, |criterion, left| {
            if left.len() != before {
                explanation
                    .lines
                    .push(format!("by {criterion}: {}", names(left)));
                before = left.len();
            }
        });
        explanation.say(match (chosen, &self.default_chain) {
            (Some(at), _) => format!("chain {at} {:?}", self.chains[at].name),
            (None, Some(chain)) => format!("no chain matches: default chain {:?}", chain.name),
            (None, None) => "no chain matches: the connection is closed".to_owned(),
        });
        explanation
    }
}

impl Rbac {
    /// Why [`Rbac::decide`] decides as it does.
    pub fn explain(&self, input: &AuthzInput<'_>) -> Explanation {
        let mut explanation = Explanation::default();
        for policy in &self.policies {
            let (permitted, known) = (
                policy.permissions.holds(input),
                policy.principals.holds(input),
            );
            let text = match (permitted, known) {
                (true, true) => "matches",
                (false, _) => "the operation doesn't match",
                (true, false) => "the source doesn't match",
            };
            explanation.say(format!("policy {:?}: {text}", policy.name));
            if permitted && known {
                break;
            }
        }
        explanation.say(match self.decide(input) {
            Verdict::Allow { policy: Some(name) } => format!("allowed by {name:?}"),
            Verdict::Allow { policy: None } => "allowed: no DENY policy matches".to_owned(),
            Verdict::Deny { policy: Some(name) } => format!("denied by {name:?}"),
            Verdict::Deny { policy: None } => "denied: no ALLOW policy matches".to_owned(),
        });
        explanation
    }
}
