//! Hosts and routes, by table and against naive reference implementations.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier as Specifier;
use mesh_xds::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_xds::envoy::r#type::matcher::v3::StringMatcher;
use mesh_xds::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use crate::table::{RouteDecision, RouteTable};
use crate::view::RequestView;

mod order;

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

/// A route for requests whose header meets a condition.
fn when(name: &str, specifier: Specifier, to: &str) -> route::Route {
    let mut one = route_to(prefix("/"), to);
    one.r#match.as_mut().unwrap().headers = vec![route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }];
    one
}

fn inverted(mut one: route::Route, treat_missing_header_as_empty: bool) -> route::Route {
    let header = &mut one.r#match.as_mut().unwrap().headers[0];
    header.invert_match = true;
    header.treat_missing_header_as_empty = treat_missing_header_as_empty;
    one
}

fn text(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ..Default::default()
    }
}

fn is(want: &str) -> Specifier {
    Specifier::StringMatch(text(want))
}

#[test]
fn headers_and_query_parameters_are_matched() {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier;
    let mut query = route_to(prefix("/"), "query");
    query.r#match.as_mut().unwrap().query_parameters = vec![route::QueryParameterMatcher {
        name: "v".to_owned(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(text("2"))),
    }];
    let range = mesh_xds::envoy::r#type::v3::Int64Range { start: 10, end: 20 };
    let t = routes(vec![
        when("end-user", is("jason"), "jason"),
        when(":method", is("POST"), "post"),
        when("x-n", Specifier::RangeMatch(range), "range"),
        when("x-p", Specifier::PresentMatch(true), "present"),
        query,
        inverted(when("x-v", is("1"), "other-than-1"), false),
        inverted(when("x-w", is("1"), "not-1-or-missing"), true),
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
        let got = ask_with(&t, request, headers);
        assert_eq!(got, want, "{request} {headers:?}");
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
