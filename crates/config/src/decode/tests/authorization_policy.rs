use super::{documents, refuse_each, spec};
use crate::authorization_policy::*;

#[test]
fn policies_are_read() {
    let policy = spec!(
        AuthorizationPolicy,
        "selector: {matchLabels: {app: web}}\naction: DENY\nrules:\n- from:\n  - source: {principals: [\"*/sa/sleep\"], ipBlocks: [10.0.0.1], notNamespaces: [\"dev-*\"]}\n  to:\n  - operation: {methods: [GET], paths: [/a*, \"/u/{*}/x/{**}\"], ports: [\"80\"], hosts: [\"*\"]}\n  when:\n  - {key: \"request.headers[X-A]\", values: [a]}\n  - {key: destination.port, notValues: [\"1\"]}"
    );
    assert_eq!(policy.action, Action::Deny);
    let rule = &policy.rules[0];
    assert_eq!(
        rule.from[0].principals.any,
        [ValuePattern::Suffix("/sa/sleep".into())]
    );
    assert_eq!(rule.from[0].ip_blocks.any[0].to_string(), "10.0.0.1/32");
    assert_eq!(
        rule.from[0].namespaces.none,
        [ValuePattern::Prefix("dev-".into())]
    );
    assert_eq!(
        rule.to[0].paths.any[1],
        PathPattern::Template("/u/{*}/x/{**}".into())
    );
    assert_eq!(rule.to[0].hosts.any, [ValuePattern::Present]);
    assert!(matches!(&rule.when[0], Condition::RequestHeader { name, .. } if name == "x-a"));
}

#[test]
fn an_empty_policy_allows_nothing_and_an_empty_rule_everything() {
    assert!(spec!(AuthorizationPolicy, "{}").rules.is_empty());
    assert_eq!(
        spec!(AuthorizationPolicy, "rules: [{}]").rules,
        [Rule::default()]
    );
}

#[test]
fn service_accounts_are_relative_to_the_policy() {
    let policy = spec!(
        AuthorizationPolicy,
        "rules: [{from: [{source: {serviceAccounts: [a, other/b]}}]}]"
    );
    let accounts: Vec<_> = policy.rules[0].from[0]
        .service_accounts
        .any
        .iter()
        .map(|a| format!("{}/{}", a.namespace, a.name))
        .collect();
    assert_eq!(accounts, ["shop/a", "other/b"]);
}

#[test]
fn a_dry_run_is_not_enforced() {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: a\n  annotations: {istio.io/dry-run: \"true\"}\nspec: {}\n";
    let error = documents(text, "f")[0].clone().unwrap_err();
    assert_eq!(
        error.to_string(),
        "f:1: AuthorizationPolicy default/a: metadata.annotations[istio.io/dry-run]: dry run is not implemented yet; remove the annotation to enforce the policy"
    );
}

const WHAT_IS_REFUSED: &[(&str, &str)] = &[
    (
        "action: DENY",
        "spec.rules: action DENY without rules denies nothing; add a rule; \"- {}\" denies everything",
    ),
    (
        "action: AUDIT\nrules: [{}]",
        "spec.action: AUDIT is not implemented yet; use ALLOW or DENY",
    ),
    (
        "action: CUSTOM\nrules: [{}]",
        "spec.action: CUSTOM is not implemented yet; external authorization comes later: use ALLOW or DENY",
    ),
    (
        "targetRefs: [{kind: Gateway, name: a}]",
        "spec.targetRefs: not implemented yet; use selector.matchLabels",
    ),
    (
        "rules: [{from: []}]",
        "spec.rules[0].from: must not be an empty list; remove it, or add an entry",
    ),
    (
        "rules: [{from: [{source: {}}]}]",
        "spec.rules[0].from[0].source: says nothing; name principals, namespaces, serviceAccounts, ipBlocks or remoteIpBlocks",
    ),
    (
        "rules: [{from: [{source: {requestPrincipals: [\"*\"], namespaces: [a]}}]}]",
        "spec.rules[0].from[0].source.requestPrincipals: not implemented yet; JWT authentication comes later: match principals (mTLS identities) instead",
    ),
    (
        "rules: [{from: [{source: {ipBlocks: [1.2.3.4]}, x: 1}]}]",
        "spec.rules[0].from[0].x: unknown field; known here: source",
    ),
    (
        "rules: [{to: [{operation: {ports: [80]}}]}]",
        "spec.rules[0].to[0].operation.ports[0]: expected a string, found the number 80; put it in quotes",
    ),
    (
        "rules: [{to: [{operation: {paths: [\"/{a}\"]}}]}]",
        "spec.rules[0].to[0].operation.paths[0]: the segment \"{a}\" is not a template; write {*} for one segment or {**} for all that follow, alone between slashes",
    ),
    (
        "rules: [{to: [{operation: {paths: [\"/{**}/{*}\"]}}]}]",
        "spec.rules[0].to[0].operation.paths[0]: \"/{**}/{*}\" goes on after {**}; {**} must be the last template",
    ),
    (
        "rules: [{when: [{key: \"request.auth.claims[a]\", values: [b]}]}]",
        "spec.rules[0].when[0].key: request.auth.claims[a] is not implemented yet; JWT authentication comes later: match principals (mTLS identities) instead",
    ),
    (
        "rules: [{when: [{key: source.principals, values: [b]}]}]",
        "spec.rules[0].when[0].key: \"source.principals\" is not an attribute; did you mean source.principal?",
    ),
    (
        "rules: [{when: [{key: source.ip}]}]",
        "spec.rules[0].when[0]: no values; set values or notValues",
    ),
];

#[test]
fn what_is_refused() {
    refuse_each("AuthorizationPolicy", WHAT_IS_REFUSED);
}
