//! Policies by table, and the index against a naive evaluation.

use http::HeaderMap;
use mesh_xds::envoy::config::rbac::v3 as rbac;
use mesh_xds::envoy::config::rbac::v3::{permission, principal};
use mesh_xds::envoy::extensions::filters::http::rbac::v3 as filter;
use mesh_xds::envoy::r#type::matcher::v3 as matcher;
use mesh_xds::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proptest::prelude::*;

use crate::authz::{AuthzInput, Rbac, Verdict};
use crate::view::RequestView;

fn text(pattern: MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}

fn exact(want: &str) -> MatchPattern {
    MatchPattern::Exact(want.to_owned())
}

fn regex(pattern: &str) -> MatchPattern {
    MatchPattern::SafeRegex(matcher::RegexMatcher {
        regex: pattern.to_owned(),
        ..Default::default()
    })
}

fn path(pattern: MatchPattern) -> rbac::Permission {
    let rule = Some(matcher::path_matcher::Rule::Path(text(pattern)));
    rbac::Permission {
        rule: Some(permission::Rule::UrlPath(matcher::PathMatcher { rule })),
    }
}

fn anything() -> rbac::Permission {
    rbac::Permission {
        rule: Some(permission::Rule::Any(true)),
    }
}

fn peer(pattern: MatchPattern) -> rbac::Principal {
    rbac::Principal {
        identifier: Some(principal::Identifier::Authenticated(
            principal::Authenticated {
                principal_name: Some(text(pattern)),
            },
        )),
    }
}

fn source(address: &str, length: u32) -> rbac::Principal {
    rbac::Principal {
        identifier: Some(principal::Identifier::RemoteIp(
            mesh_xds::envoy::config::core::v3::CidrRange {
                address_prefix: address.to_owned(),
                prefix_len: Some(mesh_xds::google::protobuf::UInt32Value { value: length }),
            },
        )),
    }
}

fn not(inner: rbac::Principal) -> rbac::Principal {
    rbac::Principal {
        identifier: Some(principal::Identifier::NotId(Box::new(inner))),
    }
}

fn all(rules: Vec<rbac::Permission>) -> rbac::Permission {
    rbac::Permission {
        rule: Some(permission::Rule::AndRules(permission::Set { rules })),
    }
}

type Source = (String, Vec<rbac::Permission>, Vec<rbac::Principal>);

fn engine(action: rbac::rbac::Action, policies: Vec<Source>) -> Rbac {
    let policies = policies.into_iter().map(|(name, permissions, principals)| {
        let policy = rbac::Policy {
            permissions,
            principals,
            ..Default::default()
        };
        (name, policy)
    });
    let rules = rbac::Rbac {
        action: action.into(),
        policies: policies.collect(),
        ..Default::default()
    };
    let filter = filter::Rbac {
        rules: Some(rules),
        ..Default::default()
    };
    crate::compile::authz::http(filter).unwrap().unwrap()
}

/// `allow`, `allow NAME`, `deny`, `deny NAME`.
fn decide(rbac: &Rbac, principal: Option<&str>, path: &str) -> String {
    let headers = HeaderMap::new();
    let request = RequestView {
        method: "GET",
        path,
        authority: "reviews",
        scheme: "http",
        headers: &headers,
    };
    let verdict = rbac.decide(&AuthzInput {
        direct_remote: "10.0.0.1:5000".parse().unwrap(),
        remote: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:9080".parse().unwrap(),
        server_name: None,
        principal,
        tls: principal.is_some(),
        request: Some(&request),
    });
    let (word, policy) = match verdict {
        Verdict::Allow { policy } => ("allow", policy),
        Verdict::Deny { policy } => ("deny", policy),
    };
    policy.map_or(word.to_owned(), |name| format!("{word} {name}"))
}

const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/productpage";
const RATINGS: &str = "spiffe://cluster.local/ns/other/sa/ratings";

fn one(name: &str, permissions: Vec<rbac::Permission>, principals: Vec<rbac::Principal>) -> Source {
    (name.to_owned(), permissions, principals)
}

#[test]
fn deny_names_the_policy_and_spares_others() {
    let deny = engine(
        rbac::rbac::Action::Deny,
        vec![one(
            "no-ratings",
            vec![path(exact("/secret"))],
            vec![peer(exact(RATINGS))],
        )],
    );
    assert_eq!(decide(&deny, Some(RATINGS), "/secret?x"), "deny no-ratings");
    assert_eq!(decide(&deny, Some(RATINGS), "/open"), "allow");
    assert_eq!(decide(&deny, Some(PRODUCTPAGE), "/secret"), "allow");
    assert_eq!(decide(&deny, None, "/secret"), "allow");
}

#[test]
fn allow_without_a_match_denies() {
    let allow = engine(
        rbac::rbac::Action::Allow,
        vec![
            one(
                "b-namespace",
                vec![anything()],
                vec![peer(regex(".*/ns/default/.*"))],
            ),
            one(
                "a-path",
                vec![path(MatchPattern::Prefix("/health".to_owned()))],
                vec![not(source("10.1.0.0", 16))],
            ),
        ],
    );
    assert_eq!(decide(&allow, Some(PRODUCTPAGE), "/x"), "allow b-namespace");
    assert_eq!(decide(&allow, Some(PRODUCTPAGE), "/health"), "allow a-path");
    assert_eq!(decide(&allow, None, "/health/live"), "allow a-path");
    assert_eq!(decide(&allow, Some(RATINGS), "/x"), "deny");
    assert_eq!(
        decide(&engine(rbac::rbac::Action::Allow, Vec::new()), None, "/"),
        "deny"
    );
    assert_eq!(
        decide(&engine(rbac::rbac::Action::Deny, Vec::new()), None, "/"),
        "allow"
    );
}

#[test]
fn what_is_not_supported_is_refused_by_path() {
    let filter = filter::Rbac {
        rules: Some(rbac::Rbac {
            policies: [(
                "p".to_owned(),
                rbac::Policy {
                    permissions: vec![rbac::Permission {
                        rule: Some(permission::Rule::NotRule(Box::new(rbac::Permission {
                            rule: Some(permission::Rule::Matcher(Default::default())),
                        }))),
                    }],
                    ..Default::default()
                },
            )]
            .into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = crate::compile::authz::http(filter).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rules.policies[p].permissions[0].not_rule.matcher: is not supported by this proxy"
    );
}

fn principal_name() -> impl Strategy<Value = String> {
    ("[ab]", "[ab]").prop_map(|(ns, sa)| format!("spiffe://td/ns/{ns}/sa/{sa}"))
}

fn principals() -> impl Strategy<Value = rbac::Principal> {
    let leaf = prop_oneof![
        principal_name().prop_map(|name| peer(exact(&name))),
        "[ab]".prop_map(|ns| peer(regex(&format!(".*/ns/{ns}/.*")))),
        principal_name().prop_map(|name| peer(MatchPattern::Suffix(name))),
        Just(source("10.0.0.0", 8)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(not),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|ids| rbac::Principal {
                identifier: Some(principal::Identifier::AndIds(principal::Set { ids })),
            }),
            prop::collection::vec(inner, 0..3).prop_map(|ids| rbac::Principal {
                identifier: Some(principal::Identifier::OrIds(principal::Set { ids })),
            }),
        ]
    })
}

fn permissions() -> impl Strategy<Value = rbac::Permission> {
    prop_oneof![
        "/[ab]".prop_map(|want| path(exact(&want))),
        "/[ab]".prop_map(|want| path(MatchPattern::Prefix(want))),
        ("/[ab]").prop_map(|want| all(vec![anything(), path(exact(&want))])),
        Just(anything()),
    ]
}

proptest! {
    #[test]
    fn index_never_changes_a_verdict(
        policies in prop::collection::vec(
            (prop::collection::vec(permissions(), 0..3), prop::collection::vec(principals(), 0..3)), 0..12),
        principal in prop::option::of(principal_name()),
        path in "/[abc]",
        deny in any::<bool>(),
    ) {
        let action = if deny { rbac::rbac::Action::Deny } else { rbac::rbac::Action::Allow };
        let named = policies.into_iter().enumerate().map(|(at, (permissions, principals))| {
            (format!("{at:02}"), permissions, principals)
        });
        let rbac = engine(action, named.collect());
        let headers = HeaderMap::new();
        let request = RequestView { method: "GET", path: &path, authority: "h", scheme: "http", headers: &headers };
        let input = AuthzInput {
            direct_remote: "10.0.0.1:5000".parse().unwrap(),
            remote: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:9080".parse().unwrap(),
            server_name: None,
            principal: principal.as_deref(),
            tls: principal.is_some(),
            request: Some(&request),
        };
        let naive = rbac.policies.iter().find(|policy| policy.matches(&input)).map(|policy| &policy.name);
        let want = match (deny, naive) {
            (true, Some(_)) => Verdict::Deny { policy: naive },
            (true, None) => Verdict::Allow { policy: None },
            (false, Some(_)) => Verdict::Allow { policy: naive },
            (false, None) => Verdict::Deny { policy: None },
        };
        prop_assert_eq!(rbac.decide(&input), want);
    }
}
