//! Hosts and routes, by table and against naive reference implementations.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::config::route::v3::route_match::PathSpecifier;
use proptest::prelude::*;

use crate::table::{RouteDecision, RouteTable};
use crate::view::RequestView;

fn cluster(name: &str) -> route::route::Action {
    route::route::Action::Route(route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            name.to_owned(),
        )),
        ..Default::default()
    })
}

fn route_to(specifier: PathSpecifier, name: &str) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(specifier),
            ..Default::default()
        }),
        action: Some(cluster(name)),
        ..Default::default()
    }
}

fn prefix(path: &str) -> PathSpecifier {
    PathSpecifier::Prefix(path.to_owned())
}

fn exact(path: &str) -> PathSpecifier {
    PathSpecifier::Path(path.to_owned())
}

fn regex(pattern: &str) -> PathSpecifier {
    PathSpecifier::SafeRegex(mesh_xds::envoy::r#type::matcher::v3::RegexMatcher {
        regex: pattern.to_owned(),
        ..Default::default()
    })
}

fn host(domains: &[&str], routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name: domains[0].to_owned(),
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        routes,
        ..Default::default()
    }
}

fn compile(hosts: Vec<route::VirtualHost>) -> Result<RouteTable, crate::Refused> {
    crate::compile::route::table(route::RouteConfiguration {
        virtual_hosts: hosts,
        ignore_port_in_host_matching: true,
        ..Default::default()
    })
}

/// One virtual host per domain, everything to the cluster.
fn table(hosts: &[(&str, &str)]) -> RouteTable {
    let hosts = hosts
        .iter()
        .map(|(domain, name)| host(&[domain], vec![route_to(prefix("/"), name)]));
    compile(hosts.collect()).unwrap()
}

/// One virtual host for everything.
fn routes(routes: Vec<route::Route>) -> RouteTable {
    compile(vec![host(&["*"], routes)]).unwrap()
}

/// `GET http://host/path` to the name of the chosen cluster, `-` for none.
fn ask(table: &RouteTable, request: &str) -> String {
    ask_with(table, request, &[])
}

fn ask_with(table: &RouteTable, request: &str, headers: &[(&str, &str)]) -> String {
    let (method, url) = request.split_once(' ').unwrap();
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let view = RequestView {
        method,
        path,
        authority,
        scheme: "http",
        headers: &headers,
    };
    match table.route(&view, 0) {
        RouteDecision::Forward { cluster, .. } => cluster.name.to_string(),
        RouteDecision::Redirect { redirect, .. } => redirect.location(&view),
        RouteDecision::Direct { status, .. } => status.to_string(),
        RouteDecision::RequireTls => "tls".to_owned(),
        RouteDecision::NotFound => "-".to_owned(),
    }
}

#[test]
fn exact_host_beats_wildcard() {
    let t = table(&[
        ("*", "any"),
        ("*.example.com", "wild"),
        ("*.b.example.com", "longer"),
        ("a.example.com", "exact"),
        ("a.*", "prefix"),
    ]);
    for (url, want) in [
        ("http://a.example.com/", "exact"),
        ("http://A.Example.COM/", "exact"),
        ("http://a.example.com:8080/", "exact"),
        ("http://x.example.com/", "wild"),
        ("http://x.b.example.com/", "longer"),
        ("http://.example.com/", "any"),
        ("http://a.org/", "prefix"),
        ("http://example.com/", "any"),
    ] {
        assert_eq!(ask(&t, &format!("GET {url}")), want, "{url}");
    }
}

#[test]
fn duplicate_and_misplaced_domains_are_refused() {
    for (domains, why) in [
        (
            &["a", "A"][..],
            "virtual_hosts[0]: domain \"a\" is there twice",
        ),
        (
            &["a.*.b"][..],
            "virtual_hosts[0]: domain \"a.*.b\": `*` may stand only first or last",
        ),
    ] {
        let refused = compile(vec![host(domains, Vec::new())]).unwrap_err();
        assert_eq!(refused.to_string(), why);
    }
}

#[test]
fn first_route_in_order_wins_with_and_without_index() {
    let mut list = vec![
        route_to(exact("/a/b"), "exact"),
        route_to(regex("/a/[0-9]+"), "regex"),
        route_to(prefix("/a/"), "prefix"),
        route_to(
            PathSpecifier::PathSeparatedPrefix("/s".to_owned()),
            "separated",
        ),
    ];
    for fill in [0, 40] {
        list.extend((0..fill).map(|at| route_to(exact(&format!("/fill/{at}")), "fill")));
        let t = routes([list.clone(), vec![route_to(prefix("/"), "rest")]].concat());
        for (path, want) in [
            ("/a/b", "exact"),
            ("/a/b?x=1", "exact"),
            ("/a/7", "regex"),
            ("/a/x", "prefix"),
            ("/s", "separated"),
            ("/s/t", "separated"),
            ("/st", "rest"),
            ("/", "rest"),
        ] {
            assert_eq!(ask(&t, &format!("GET http://h{path}")), want, "{path}");
        }
    }
}

#[test]
fn headers_and_query_parameters_are_matched() {
    let matcher = |name: &str, specifier, invert, empty| route::HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        treat_missing_header_as_empty: empty,
        header_match_specifier: Some(specifier),
    };
    let text = |text: &str| {
        use mesh_xds::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
        StringMatcher {
            match_pattern: Some(MatchPattern::Exact(text.to_owned())),
            ..Default::default()
        }
    };
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let with = |headers: Vec<route::HeaderMatcher>, name: &str| {
        let mut one = route_to(prefix("/"), name);
        one.r#match.as_mut().unwrap().headers = headers;
        one
    };
    let mut query = route_to(prefix("/"), "query");
    query.r#match.as_mut().unwrap().query_parameters = vec![route::QueryParameterMatcher {
        name: "v".to_owned(),
        query_parameter_match_specifier: Some(
            route::query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch(text("2")),
        ),
    }];
    let range = mesh_xds::envoy::r#type::v3::Int64Range { start: 10, end: 20 };
    let t = routes(vec![
        with(
            vec![matcher(
                "end-user",
                Specifier::StringMatch(text("jason")),
                false,
                false,
            )],
            "jason",
        ),
        with(
            vec![matcher(
                ":method",
                Specifier::StringMatch(text("POST")),
                false,
                false,
            )],
            "post",
        ),
        with(
            vec![matcher("x-n", Specifier::RangeMatch(range), false, false)],
            "range",
        ),
        with(
            vec![matcher("x-p", Specifier::PresentMatch(true), false, false)],
            "present",
        ),
        query,
        with(
            vec![matcher(
                "x-v",
                Specifier::StringMatch(text("1")),
                true,
                false,
            )],
            "other-than-1",
        ),
        with(
            vec![matcher(
                "x-w",
                Specifier::StringMatch(text("1")),
                true,
                true,
            )],
            "not-1-or-missing",
        ),
    ]);
    for (request, headers, want) in [
        ("GET http://h/", &[("end-user", "jason")][..], "jason"),
        ("POST http://h/", &[], "post"),
        ("GET http://h/", &[("x-n", "19")], "range"),
        ("GET http://h/", &[("x-n", "20")], "not-1-or-missing"),
        ("GET http://h/", &[("x-p", "")], "present"),
        ("GET http://h/?a=1&v=2", &[], "query"),
        ("GET http://h/", &[("x-v", "2")], "other-than-1"),
        ("GET http://h/", &[("x-w", "1")], "-"),
        ("GET http://h/", &[], "not-1-or-missing"),
    ] {
        assert_eq!(
            ask_with(&t, request, headers),
            want,
            "{request} {headers:?}"
        );
    }
}

#[test]
fn connect_is_for_connect_routes_alone() {
    let t = routes(vec![
        route_to(prefix("/"), "rest"),
        route_to(PathSpecifier::ConnectMatcher(Default::default()), "connect"),
    ]);
    assert_eq!(ask(&t, "CONNECT http://h:443"), "connect");
    assert_eq!(ask(&t, "GET http://h/"), "rest");
}

#[test]
fn weights_share_the_requests() {
    let mut one = route_to(prefix("/"), "");
    let weight = |name: &str, weight: u32| route::weighted_cluster::ClusterWeight {
        name: name.to_owned(),
        weight: Some(mesh_xds::google::protobuf::UInt32Value { value: weight }),
        ..Default::default()
    };
    one.action = Some(route::route::Action::Route(route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::WeightedClusters(
            route::WeightedCluster {
                clusters: vec![weight("v1", 80), weight("never", 0), weight("v2", 20)],
                ..Default::default()
            },
        )),
        ..Default::default()
    }));
    let t = routes(vec![one]);
    let headers = HeaderMap::new();
    let view = RequestView {
        method: "GET",
        path: "/",
        authority: "h",
        scheme: "http",
        headers: &headers,
    };
    let mut counts = std::collections::BTreeMap::new();
    for random in 0..1000 {
        if let RouteDecision::Forward { cluster, .. } = t.route(&view, random) {
            *counts.entry(cluster.name.to_string()).or_insert(0) += 1;
        }
    }
    assert_eq!(
        counts,
        [("v1".to_owned(), 800), ("v2".to_owned(), 200)].into()
    );
}

#[test]
fn refusals_name_the_field() {
    let mut bad = route_to(prefix("/"), "c");
    let Some(route::route::Action::Route(action)) = &mut bad.action else {
        panic!("a route");
    };
    action.priority = 1;
    action.internal_redirect_policy = Some(Default::default());
    let refused = compile(vec![host(&["*"], vec![route_to(prefix("/a"), "c"), bad])]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "virtual_hosts[0].routes[1].route.internal_redirect_policy, priority: is not supported by this proxy"
    );
}

#[test]
fn explanation_names_what_did_not_match() {
    let t = routes(vec![
        route_to(exact("/a"), "a"),
        route_to(prefix("/"), "rest"),
    ]);
    let headers = HeaderMap::new();
    let view = RequestView {
        method: "GET",
        path: "/b",
        authority: "h",
        scheme: "http",
        headers: &headers,
    };
    let lines = t.explain(&view, 0).lines;
    assert!(
        lines[1].contains("path doesn't match Exact(\"/a\")"),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), "forward to cluster \"rest\"");
}

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
        PathSpecifier::SafeRegex(want) => regex::Regex::new(&format!("^({})$", want.regex))
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
