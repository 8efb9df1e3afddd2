//! AuthorizationPolicies as RBAC filters, for HTTP and for connections.
//!
//! DENY stands before ALLOW. A policy without rules becomes one that never matches, so that an ALLOW
//! policy without rules allows nothing. On a connection, what only HTTP has cannot be judged: an ALLOW
//! rule that asks for it never matches, a DENY rule is applied without that condition.
//!
//! Source: Istio, authorization policy semantics.

mod permission;
mod principal;

use mesh_config::authorization_policy::{Action, Condition, Operation, Rule, SourceRule, Values};
use mesh_config::{AuthorizationPolicy, Object};
use mesh_xds::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use mesh_xds::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;

use super::{context::Context, names, wire::*};

/// What the filter judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
}

/// A condition that cannot be judged for this kind of traffic.
#[derive(Debug)]
pub(super) struct HttpOnly;

/// RBAC filters for a connection manager.
pub(crate) fn http_filters(cx: &Context<'_>) -> Vec<hcm::HttpFilter> {
    rules(cx, Traffic::Http)
        .into_iter()
        .map(|rules| {
            let config = HttpRbac {
                rules: Some(rules),
                ..HttpRbac::default()
            };
            http_filter(names::HTTP_RBAC, &config)
        })
        .collect()
}

/// RBAC filters for a TCP proxy.
pub(crate) fn network_filters(cx: &Context<'_>) -> Vec<listener::Filter> {
    rules(cx, Traffic::Tcp)
        .into_iter()
        .map(|rules| {
            let config = NetworkRbac {
                rules: Some(rules),
                stat_prefix: "tcp.".to_owned(),
                ..NetworkRbac::default()
            };
            network_filter(names::NETWORK_RBAC, &config)
        })
        .collect()
}

fn rules(cx: &Context<'_>, traffic: Traffic) -> Vec<rbac::Rbac> {
    [Action::Deny, Action::Allow]
        .into_iter()
        .filter_map(|action| {
            let policies = cx
                .snapshot
                .rules
                .authorization(&cx.proxy.namespace, cx.labels, action);
            (!policies.is_empty()).then(|| of_action(cx, &policies, action, traffic))
        })
        .collect()
}

fn of_action(
    cx: &Context<'_>,
    policies: &[&std::sync::Arc<Object<AuthorizationPolicy>>],
    action: Action,
    traffic: Traffic,
) -> rbac::Rbac {
    let mut out = rbac::Rbac {
        action: match action {
            Action::Allow => rbac::rbac::Action::Allow,
            Action::Deny => rbac::rbac::Action::Deny,
        }
        .into(),
        ..rbac::Rbac::default()
    };
    let domains = trust_domains(cx);
    for policy in policies {
        let meta = &policy.meta;
        let name = |index| format!("ns[{}]-policy[{}]-rule[{index}]", meta.namespace, meta.name);
        if policy.spec.rules.is_empty() {
            out.policies.insert(name(0), never());
        }
        for (index, rule) in policy.spec.rules.iter().enumerate() {
            if let Ok(built) = of_rule(rule, action, traffic, &domains) {
                out.policies.insert(name(index), built);
            }
        }
    }
    out
}

/// The mesh's trust domain and its aliases: identities of any of them count alike.
fn trust_domains(cx: &Context<'_>) -> Vec<String> {
    let mesh = cx.mesh();
    let mut out = vec![mesh.trust_domain.clone()];
    out.extend(mesh.trust_domain_aliases.iter().cloned());
    out
}

fn never() -> rbac::Policy {
    rbac::Policy {
        permissions: vec![permission::not(permission::any())],
        principals: vec![principal::not(principal::any())],
        ..rbac::Policy::default()
    }
}

fn of_rule(
    rule: &Rule,
    action: Action,
    traffic: Traffic,
    domains: &[String],
) -> Result<rbac::Policy, HttpOnly> {
    let nothing = Operation::default();
    let operations: Vec<&Operation> = if rule.to.is_empty() {
        vec![&nothing]
    } else {
        rule.to.iter().collect()
    };
    let anybody = SourceRule::default();
    let sources: Vec<&SourceRule> = if rule.from.is_empty() {
        vec![&anybody]
    } else {
        rule.from.iter().collect()
    };
    let judge = Judge {
        action,
        traffic,
        domains,
    };
    Ok(rbac::Policy {
        permissions: operations
            .into_iter()
            .map(|operation| permission::build(&judge, operation, &rule.when))
            .collect::<Result<_, _>>()?,
        principals: sources
            .into_iter()
            .map(|source| principal::build(&judge, source, &rule.when))
            .collect::<Result<_, _>>()?,
        ..rbac::Policy::default()
    })
}

/// What decides how a condition is translated.
pub(super) struct Judge<'a> {
    action: Action,
    traffic: Traffic,
    /// The mesh's trust domain first.
    domains: &'a [String],
}

impl Judge<'_> {
    /// What becomes of a condition that only HTTP has.
    ///
    /// `Ok(true)`: translate it. `Ok(false)`: leave it out.
    fn http_only<T>(&self, values: &Values<T>) -> Result<bool, HttpOnly> {
        if values.is_empty() {
            return Ok(false);
        }
        match (self.traffic, self.action) {
            (Traffic::Http, _) => Ok(true),
            (Traffic::Tcp, Action::Deny) => Ok(false),
            (Traffic::Tcp, Action::Allow) => Err(HttpOnly),
        }
    }
}

/// The conditions of `when` that speak of the caller.
fn about_caller(condition: &Condition) -> bool {
    match condition {
        Condition::RequestHeader { .. }
        | Condition::SourceIp(_)
        | Condition::RemoteIp(_)
        | Condition::SourceNamespace(_)
        | Condition::SourcePrincipal(_) => true,
        Condition::DestinationIp(_)
        | Condition::DestinationPort(_)
        | Condition::ConnectionSni(_) => false,
    }
}
