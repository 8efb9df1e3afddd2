//! Schema of an AuthorizationPolicy.

use super::builder::{Schema, field, list, object, required, text, texts, words};
use super::shared::{selector, target_ref};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        field(
            "selector",
            "The workloads that this is for; all of the namespace if left out.",
            selector(),
        ),
        field(
            "targetRef",
            "What the policy is attached to, in place of a selector.",
            target_ref(),
        ),
        field(
            "targetRefs",
            "What the policy is attached to, in place of a selector.",
            list(target_ref()).at_most(16),
        ),
        field(
            "action",
            "What happens to a request that a rule matches; ALLOW if left out.",
            words(&["ALLOW", "DENY", "AUDIT", "CUSTOM"]),
        ),
        field(
            "provider",
            "Who decides, for action CUSTOM.",
            object([field(
                "name",
                "One of the providers that the mesh's configuration names.",
                text(),
            )]),
        ),
        field(
            "rules",
            "Of which one must match; without rules nothing matches.",
            list(rule()).at_most(512),
        ),
    ])
    .at_most_one(&["selector", "targetRef", "targetRefs"])
}

fn rule() -> Schema {
    let from = object([field("source", "A peer.", source())]);
    let to = object([field("operation", "An operation.", operation())]);
    object([
        field(
            "from",
            "Callers of which one must match; all do if left out.",
            list(from).at_most(512),
        ),
        field(
            "to",
            "Operations of which one must match; all do if left out.",
            list(to),
        ),
        field("when", "Conditions that must all hold.", list(condition())),
    ])
}

fn source() -> Schema {
    let accounts = || list(text().at_most(320)).at_most(16);
    object([
        field(
            "principals",
            "Identities by certificate, as TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT.",
            texts(),
        ),
        field("notPrincipals", "Identities that do not match.", texts()),
        field(
            "requestPrincipals",
            "Identities by JWT, as ISSUER/SUBJECT.",
            texts(),
        ),
        field(
            "notRequestPrincipals",
            "Identities by JWT that do not match.",
            texts(),
        ),
        field("namespaces", "Namespaces by certificate.", texts()),
        field("notNamespaces", "Namespaces that do not match.", texts()),
        field(
            "serviceAccounts",
            "Service accounts by certificate, as NAMESPACE/ACCOUNT or ACCOUNT.",
            accounts(),
        ),
        field(
            "notServiceAccounts",
            "Service accounts that do not match.",
            accounts(),
        ),
        field("trustDomains", "Trust domains by certificate.", texts()),
        field(
            "notTrustDomains",
            "Trust domains that do not match.",
            texts(),
        ),
        field(
            "ipBlocks",
            "Addresses or ranges of the connection's other end.",
            texts(),
        ),
        field("notIpBlocks", "Addresses that do not match.", texts()),
        field(
            "remoteIpBlocks",
            "Addresses or ranges of the original client, as proxies in between report it.",
            texts(),
        ),
        field(
            "notRemoteIpBlocks",
            "Addresses of the original client that do not match.",
            texts(),
        ),
    ])
    .rule(
        "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
        "service accounts cannot be combined with principals or namespaces",
    )
}

fn operation() -> Schema {
    object([
        field("hosts", "Hosts asked for.", texts()),
        field("notHosts", "Hosts that do not match.", texts()),
        field("ports", "Ports, as text.", texts()),
        field("notPorts", "Ports that do not match.", texts()),
        field("methods", "HTTP methods.", texts()),
        field("notMethods", "Methods that do not match.", texts()),
        field(
            "paths",
            "Paths; * at the start or the end, {*} and {**} for segments.",
            texts(),
        ),
        field("notPaths", "Paths that do not match.", texts()),
    ])
}

fn condition() -> Schema {
    object([
        required(
            "key",
            "An attribute, for example source.ip or request.headers[NAME].",
            text(),
        ),
        field("values", "Values of which one must match.", texts()),
        field("notValues", "Values of which none may match.", texts()),
    ])
}
