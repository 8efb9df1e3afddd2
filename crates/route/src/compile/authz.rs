//! RBAC filters.

use mesh_xds::envoy::config::rbac::v3 as rbac;
use mesh_xds::envoy::extensions::filters::http::rbac::v3 as http_rbac;
use mesh_xds::envoy::extensions::filters::network::rbac::v3 as network_rbac;
use mesh_xds::envoy::r#type::matcher::v3 as matcher;

use crate::authz::rule::Rule;
use crate::authz::{Action, Policy, Rbac};
use crate::compile::{disregard, known, matchers, name, nothing_left, port, range, take};
use crate::error::{At, Refused};

/// The HTTP filter; `None` if it has no rules (then it enforces nothing).
pub(crate) fn http(mut filter: http_rbac::Rbac) -> Result<Option<Rbac>, Refused> {
    // Names for statistics only.
    disregard!(filter: rules_stat_prefix, track_per_rule_stats);
    let rules = take(&mut filter.rules);
    nothing_left(&filter)?;
    rules.map(engine).transpose().at(|| "rules".to_owned())
}

/// The network filter. Both enforcement types come to the same: the verdict can't change
/// during a connection, as all its inputs are known at its start.
pub(crate) fn network(mut filter: network_rbac::Rbac) -> Result<Option<Rbac>, Refused> {
    disregard!(filter: stat_prefix, enforcement_type);
    let rules = take(&mut filter.rules);
    nothing_left(&filter)?;
    rules.map(engine).transpose().at(|| "rules".to_owned())
}

fn engine(mut rules: rbac::Rbac) -> Result<Rbac, Refused> {
    let action = match known(take(&mut rules.action), "action")? {
        rbac::rbac::Action::Allow => Action::Allow,
        rbac::rbac::Action::Deny => Action::Deny,
        rbac::rbac::Action::Log => {
            return Err(Refused::field(
                "action",
                "LOG is not supported by this proxy",
            ));
        }
    };
    let policies = take(&mut rules.policies)
        .into_iter()
        .map(|(key, rules)| policy(&key, rules).at(|| format!("policies[{key}]")))
        .collect::<Result<_, _>>()?;
    nothing_left(&rules)?;
    Ok(Rbac::new(action, policies))
}

fn policy(key: &str, mut policy: rbac::Policy) -> Result<Policy, Refused> {
    let permissions = each(take(&mut policy.permissions), "permissions", permission)?;
    let principals = each(take(&mut policy.principals), "principals", principal)?;
    nothing_left(&policy)?;
    Ok(Policy {
        name: name(key),
        permissions: Rule::Or(permissions),
        principals: Rule::Or(principals),
    })
}

fn each<T>(
    list: Vec<T>,
    field: &str,
    compile: fn(T) -> Result<Rule, Refused>,
) -> Result<Vec<Rule>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, one)| compile(one).at(|| format!("{field}[{at}]")))
        .collect()
}

fn any(value: bool) -> Rule {
    if value {
        Rule::Any
    } else {
        Rule::Not(Box::new(Rule::Any))
    }
}

fn permission(permission: rbac::Permission) -> Result<Rule, Refused> {
    use rbac::permission::Rule as Source;
    Ok(
        match permission.rule.ok_or_else(|| Refused::missing("rule"))? {
            Source::AndRules(set) => Rule::And(each(set.rules, "and_rules", self::permission)?),
            Source::OrRules(set) => Rule::Or(each(set.rules, "or_rules", self::permission)?),
            Source::NotRule(rule) => Rule::Not(Box::new(
                self::permission(*rule).at(|| "not_rule".to_owned())?,
            )),
            Source::Any(value) => any(value),
            Source::Header(header) => {
                Rule::Header(matchers::header(header).at(|| "header".to_owned())?)
            }
            Source::UrlPath(matcher) => url_path(matcher)?,
            Source::DestinationIp(net) => {
                Rule::DestinationIp(range(&net).at(|| "destination_ip".to_owned())?)
            }
            Source::DestinationPort(value) => {
                Rule::DestinationPort(port(value, "destination_port")?)
            }
            Source::DestinationPortRange(ports) => {
                let bound = |value: i32| u32::try_from(value).unwrap_or(0);
                Rule::DestinationPorts(bound(ports.start), bound(ports.end))
            }
            Source::RequestedServerName(matcher) => Rule::ServerName(
                matchers::string(matcher).at(|| "requested_server_name".to_owned())?,
            ),
            Source::Metadata(_) => return Err(Refused::unsupported("metadata")),
            Source::Matcher(_) => return Err(Refused::unsupported("matcher")),
            Source::UriTemplate(_) => return Err(Refused::unsupported("uri_template")),
            Source::SourcedMetadata(_) => return Err(Refused::unsupported("sourced_metadata")),
        },
    )
}

fn principal(principal: rbac::Principal) -> Result<Rule, Refused> {
    use rbac::principal::Identifier as Source;
    Ok(
        match principal
            .identifier
            .ok_or_else(|| Refused::missing("identifier"))?
        {
            Source::AndIds(set) => Rule::And(each(set.ids, "and_ids", self::principal)?),
            Source::OrIds(set) => Rule::Or(each(set.ids, "or_ids", self::principal)?),
            Source::NotId(rule) => {
                Rule::Not(Box::new(self::principal(*rule).at(|| "not_id".to_owned())?))
            }
            Source::Any(value) => any(value),
            Source::Authenticated(authenticated) => {
                let matcher = authenticated
                    .principal_name
                    .map(matchers::string)
                    .transpose();
                Rule::Authenticated(matcher.at(|| "authenticated.principal_name".to_owned())?)
            }
            Source::SourceIp(net) => Rule::DirectRemote(range(&net).at(|| "source_ip".to_owned())?),
            Source::DirectRemoteIp(net) => {
                Rule::DirectRemote(range(&net).at(|| "direct_remote_ip".to_owned())?)
            }
            Source::RemoteIp(net) => Rule::Remote(range(&net).at(|| "remote_ip".to_owned())?),
            Source::Header(header) => {
                Rule::Header(matchers::header(header).at(|| "header".to_owned())?)
            }
            Source::UrlPath(matcher) => url_path(matcher)?,
            Source::Metadata(_) => return Err(Refused::unsupported("metadata")),
            Source::FilterState(_) => return Err(Refused::unsupported("filter_state")),
            Source::SourcedMetadata(_) => return Err(Refused::unsupported("sourced_metadata")),
            Source::Custom(_) => return Err(Refused::unsupported("custom")),
        },
    )
}

fn url_path(path: matcher::PathMatcher) -> Result<Rule, Refused> {
    let matcher::path_matcher::Rule::Path(text) =
        path.rule.ok_or_else(|| Refused::missing("url_path.path"))?;
    Ok(Rule::Path(
        matchers::string(text).at(|| "url_path.path".to_owned())?,
    ))
}
