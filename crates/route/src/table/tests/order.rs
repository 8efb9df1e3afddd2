//! Order of hosts and routes against naive reference implementations.

use mesh_xds::envoy::config::route::v3::route_match::PathSpecifier;
use proptest::prelude::*;

use super::{ask, regex, route_to, routes, table};

/// Envoy's documented search order, done by looking at every domain.
fn naive_host(domains: &[String], asked: &str) -> Option<usize> {
    let asked = asked.to_ascii_lowercase();
    let longest = |fits: &dyn Fn(&str) -> bool| {
        let fitting = domains
            .iter()
            .enumerate()
            .filter(|(_, domain)| fits(domain));
        fitting
            .max_by_key(|(_, domain)| domain.len())
            .map(|(at, _)| at)
    };
    let wild = |domain: &str, fixed: Option<&str>, holds: &dyn Fn(&str) -> bool| {
        domain != "*" && fixed.is_some_and(|fixed| asked.len() > fixed.len() && holds(fixed))
    };
    domains
        .iter()
        .position(|domain| *domain == asked)
        .or_else(|| longest(&|d| wild(d, d.strip_prefix('*'), &|f| asked.ends_with(f))))
        .or_else(|| longest(&|d| wild(d, d.strip_suffix('*'), &|f| asked.starts_with(f))))
        .or_else(|| domains.iter().position(|domain| domain == "*"))
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,2}(\\.[ab]{1,2}){0,2}",
        "\\*\\.?[ab]{1,2}(\\.[ab]){0,2}",
        "[ab]{1,2}\\.?\\*",
        Just("*".to_owned()),
    ]
}

fn specifier() -> impl Strategy<Value = PathSpecifier> {
    let path = "/([ab]{0,2}/){0,2}[ab]{0,2}";
    prop_oneof![
        path.prop_map(PathSpecifier::Path),
        path.prop_map(PathSpecifier::Prefix),
        "/[ab]{1,2}(/[ab]{1,2}){0,1}".prop_map(PathSpecifier::PathSeparatedPrefix),
        "/[ab]{0,2}".prop_map(|path| regex(&format!("{path}[ab/]*"))),
    ]
}

fn naive_path(specifier: &PathSpecifier, path: &str) -> bool {
    match specifier {
        PathSpecifier::Path(want) => path == want,
        PathSpecifier::Prefix(want) => path.starts_with(want),
        PathSpecifier::PathSeparatedPrefix(want) => path
            .strip_prefix(want.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathSpecifier::SafeRegex(want) => ::regex::Regex::new(&format!("^({})$", want.regex))
            .unwrap()
            .is_match(path),
        _ => false,
    }
}

proptest! {
    #[test]
    fn host_order_is_as_documented(
        domains in prop::collection::btree_set(domain(), 1..12),
        asked in "[abAB]{1,2}(\\.[ab]{1,2}){0,3}",
    ) {
        let domains: Vec<String> = domains.into_iter().collect();
        let hosts: Vec<(&str, &str)> = domains.iter().map(|d| (d.as_str(), d.as_str())).collect();
        let want = naive_host(&domains, &asked).map_or("-", |at| &domains[at]);
        prop_assert_eq!(ask(&table(&hosts), &format!("GET http://{asked}/")), want);
    }

    #[test]
    fn route_order_is_first_match(
        specifiers in prop::collection::vec(specifier(), 1..40),
        path in "/([ab]{0,2}/){0,2}[ab]{0,3}",
    ) {
        let list = specifiers.iter().enumerate().map(|(at, one)| route_to(one.clone(), &at.to_string()));
        let t = routes(list.collect());
        let want = specifiers.iter().position(|one| naive_path(one, &path));
        let want = want.map_or("-".to_owned(), |at| at.to_string());
        prop_assert_eq!(ask(&t, &format!("GET http://h{path}")), want);
    }
}
