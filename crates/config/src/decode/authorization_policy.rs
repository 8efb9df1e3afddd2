//! Reads an AuthorizationPolicy.

use super::reader::{Fields, Node};
use super::scope::{SelectorKey, is_dns_label, is_header_name, selector};
use super::virtual_service::subnet;
use crate::authorization_policy::{
    Action, AuthorizationPolicy, Condition, Operation, PathPattern, Rule, ServiceAccountRef,
    SourceRule, ValuePattern, Values,
};
use crate::number::PortNumber;
use crate::object::ObjectMeta;

const JWT: &str = "JWT authentication comes later: match principals (mTLS identities) instead";

pub(super) fn read(spec: &Node<'_>, meta: &ObjectMeta) -> Option<AuthorizationPolicy> {
    let fields = spec.open(
        &["selector", "action", "rules"],
        &[
            ("targetRef", "use selector.matchLabels"),
            ("targetRefs", "use selector.matchLabels"),
            (
                "provider",
                "external authorization comes later: use action ALLOW or DENY",
            ),
        ],
    )?;
    if meta
        .annotations
        .get("istio.io/dry-run")
        .is_some_and(|value| value == "true")
    {
        // Enforcing what was meant to be tried only would be worse than refusing it.
        let path = "metadata.annotations[istio.io/dry-run]";
        spec.report.add(
            path,
            "dry run is not implemented yet",
            "remove the annotation to enforce the policy",
        );
    }
    let words = [("ALLOW", Action::Allow), ("DENY", Action::Deny)];
    let refused = [
        ("AUDIT", "use ALLOW or DENY"),
        (
            "CUSTOM",
            "external authorization comes later: use ALLOW or DENY",
        ),
    ];
    let action = fields
        .choice("action", &words, &refused)
        .unwrap_or_default();
    let rules = fields.items("rules");
    if action == Action::Deny && rules.is_empty() {
        fields.error_at::<()>(
            "rules",
            "action DENY without rules denies nothing",
            "add a rule; \"- {}\" denies everything",
        );
    }
    Some(AuthorizationPolicy {
        selector: selector(&fields, "selector", SelectorKey::MatchLabels),
        action,
        rules: rules.iter().filter_map(rule).collect(),
    })
}

fn rule(node: &Node<'_>) -> Option<Rule> {
    let fields = node.open(&["from", "to", "when"], &[])?;
    for name in ["from", "to", "when"] {
        // An empty list would match everything, a list meant to be filled probably not.
        if fields
            .get(name)
            .is_some_and(|n| n.value.as_array().is_some_and(Vec::is_empty))
        {
            fields.error_at::<()>(
                name,
                "must not be an empty list",
                "remove it, or add an entry",
            );
        }
    }
    Some(Rule {
        from: fields.items("from").iter().filter_map(from).collect(),
        to: fields.items("to").iter().filter_map(to).collect(),
        when: fields.items("when").iter().filter_map(condition).collect(),
    })
}

/// The fields of a source.
const SOURCE: [&str; 10] = [
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
];

/// The fields of an operation.
const OPERATION: [&str; 8] = [
    "hosts",
    "notHosts",
    "ports",
    "notPorts",
    "methods",
    "notMethods",
    "paths",
    "notPaths",
];

fn from(node: &Node<'_>) -> Option<SourceRule> {
    let fields = node.open(&["source"], &[])?;
    let node = fields.required("source", "name the caller's attributes")?;
    let fields = node.open(
        &SOURCE,
        &[
            ("requestPrincipals", JWT),
            ("notRequestPrincipals", JWT),
            (
                "trustDomains",
                "match principals, for example \"cluster.local/*\"",
            ),
            (
                "notTrustDomains",
                "match notPrincipals, for example \"cluster.local/*\"",
            ),
        ],
    )?;
    let source = SourceRule {
        principals: patterns(&fields, "principals", "notPrincipals"),
        namespaces: patterns(&fields, "namespaces", "notNamespaces"),
        service_accounts: values(
            &fields,
            "serviceAccounts",
            "notServiceAccounts",
            service_account,
        ),
        ip_blocks: values(&fields, "ipBlocks", "notIpBlocks", subnet),
        remote_ip_blocks: values(&fields, "remoteIpBlocks", "notRemoteIpBlocks", subnet),
    };
    if fields.present(&SOURCE).is_empty() {
        fields.error::<()>(
            "says nothing",
            "name principals, namespaces, serviceAccounts, ipBlocks or remoteIpBlocks",
        );
    }
    let implied = !source.principals.is_empty() || !source.namespaces.is_empty();
    if implied && !source.service_accounts.is_empty() {
        let problem = "cannot be set together with principals or namespaces";
        fields.error_at::<()>(
            "serviceAccounts",
            problem,
            "a service account implies both: keep one",
        );
    }
    Some(source)
}

fn to(node: &Node<'_>) -> Option<Operation> {
    let fields = node.open(&["operation"], &[])?;
    let node = fields.required("operation", "name hosts, ports, methods or paths")?;
    let fields = node.open(&OPERATION, &[])?;
    let operation = Operation {
        hosts: patterns(&fields, "hosts", "notHosts"),
        ports: values(&fields, "ports", "notPorts", port),
        methods: patterns(&fields, "methods", "notMethods"),
        paths: values(&fields, "paths", "notPaths", path),
    };
    if fields.present(&OPERATION).is_empty() {
        fields.error::<()>("says nothing", "name hosts, ports, methods or paths");
    }
    Some(operation)
}

fn values<T>(
    fields: &Fields<'_>,
    any: &str,
    none: &str,
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> Values<T> {
    Values {
        any: fields.items(any).iter().filter_map(&read).collect(),
        none: fields.items(none).iter().filter_map(&read).collect(),
    }
}

fn patterns(fields: &Fields<'_>, any: &str, none: &str) -> Values<ValuePattern> {
    values(fields, any, none, pattern)
}

fn pattern(node: &Node<'_>) -> Option<ValuePattern> {
    match node.text()? {
        "" => node.error("must not be empty", "write \"*\" for any value"),
        text => Some(ValuePattern::parse(text)),
    }
}

fn service_account(node: &Node<'_>) -> Option<ServiceAccountRef> {
    let text = node.text()?;
    let (namespace, name) = text
        .split_once('/')
        .unwrap_or((&node.report.namespace, text));
    let fits = is_dns_label(namespace) && !name.is_empty() && !name.contains(['/', '*']);
    if !fits {
        return node.error(
            format!("{text:?} is not a service account"),
            "write NAME or NAMESPACE/NAME, without wildcards",
        );
    }
    Some(ServiceAccountRef {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn port(node: &Node<'_>) -> Option<PortNumber> {
    // Istio writes the ports of policies as text.
    let text = node.text()?;
    match text.parse().ok().and_then(PortNumber::new) {
        Some(port) => Some(port),
        None => node.error(
            format!("{text:?} is not a port"),
            "use a number from 1 to 65535",
        ),
    }
}

fn path(node: &Node<'_>) -> Option<PathPattern> {
    let text = node.text()?;
    if !text.contains(['{', '}']) {
        return pattern(node).map(PathPattern::Value);
    }
    let mut rest_matched = false;
    for segment in text.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if rest_matched => {
                return node.error(
                    format!("{text:?} goes on after {{**}}"),
                    "{**} must be the last template",
                );
            }
            "{*}" => {}
            "{**}" => rest_matched = true,
            other if other.contains(['{', '}', '*']) => {
                return node.error(
                    format!("the segment {other:?} is not a template"),
                    "write {*} for one segment or {**} for all that follow, alone between slashes",
                );
            }
            _ => {}
        }
    }
    Some(PathPattern::Template(text.to_owned()))
}

fn condition(node: &Node<'_>) -> Option<Condition> {
    let fields = node.open(&["key", "values", "notValues"], &[])?;
    let key = fields.required_text("key", "name the attribute")?;
    if fields.present(&["values", "notValues"]).is_empty() {
        fields.error::<()>("no values", "set values or notValues");
    }
    let patterns = || patterns(&fields, "values", "notValues");
    let addresses = || values(&fields, "values", "notValues", subnet);
    Some(match key.as_str() {
        "source.ip" => Condition::SourceIp(addresses()),
        "remote.ip" => Condition::RemoteIp(addresses()),
        "source.namespace" => Condition::SourceNamespace(patterns()),
        "source.principal" => Condition::SourcePrincipal(patterns()),
        "destination.ip" => Condition::DestinationIp(addresses()),
        "destination.port" => {
            Condition::DestinationPort(values(&fields, "values", "notValues", port))
        }
        "connection.sni" => Condition::ConnectionSni(patterns()),
        key => {
            let header = key
                .strip_prefix("request.headers[")
                .and_then(|k| k.strip_suffix(']'));
            match header {
                Some(name) if is_header_name(name.strip_prefix(':').unwrap_or(name)) => {
                    Condition::RequestHeader {
                        name: name.to_ascii_lowercase(),
                        values: patterns(),
                    }
                }
                Some(name) => {
                    return fields.error_at("key", format!("{name:?} is not a header name"), "");
                }
                None => return unknown_key(&fields, key),
            }
        }
    })
}

/// Attributes of a request that conditions can be about.
const KEYS: [&str; 8] = [
    "request.headers[NAME]",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

fn unknown_key<T>(fields: &Fields<'_>, key: &str) -> Option<T> {
    if key.starts_with("request.auth.") {
        return fields.error_at("key", format!("{key} is not implemented yet"), JWT);
    }
    const LATER: [&str; 2] = ["source.serviceAccount", "source.trustDomain"];
    if LATER.contains(&key) || key.starts_with("experimental.envoy.filters.") {
        return fields.error_at(
            "key",
            format!("{key} is not implemented yet"),
            format!("use one of {}", KEYS.join(", ")),
        );
    }
    let remedy = match super::nearest(key, KEYS) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("use one of {}", KEYS.join(", ")),
    };
    fields.error_at("key", format!("{key:?} is not an attribute"), remedy)
}
