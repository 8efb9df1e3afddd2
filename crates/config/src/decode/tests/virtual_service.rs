use std::time::Duration;

use super::{refuse, refuse_each, spec};
use crate::matching::{StringMatch, ValueMatch};
use crate::virtual_service::*;
use crate::{HostPattern, Percent};

const HTTP: &str = "hosts: [reviews]\nhttp:\n- ";

fn http(route: &str) -> HttpRoute {
    let mut spec = spec!(VirtualService, &format!("{HTTP}{route}"));
    spec.http.remove(0)
}

fn forward(route: &str) -> Forward {
    match http(route).action {
        HttpAction::Forward(forward) => *forward,
        other => panic!("{other:?}"),
    }
}

const TO: &str = "route: [{destination: {host: reviews}}]";

#[test]
fn defaults_are_istios() {
    let spec = spec!(VirtualService, &format!("{HTTP}{TO}"));
    assert_eq!(spec.gateways, [GatewayRef::Mesh]);
    assert_eq!(spec.export_to, crate::ExportTo::MeshDefault);
    let HttpAction::Forward(forward) = &spec.http[0].action else {
        panic!()
    };
    assert_eq!(forward.destinations[0].weight, 100);
    assert_eq!(
        (forward.timeout, &forward.retries, &forward.fault),
        (None, &None, &None)
    );
}

#[test]
fn gateways_are_resolved_to_namespace_and_name() {
    let text =
        format!("gateways: [mesh, own, other/gw, legacy.infra.svc.cluster.local]\n{HTTP}{TO}");
    let names: Vec<_> = spec!(VirtualService, &text)
        .gateways
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["mesh", "shop/own", "other/gw", "infra/legacy"]);
}

#[test]
fn matches_are_read() {
    let route = http(&format!(
        "match:\n  - uri: {{prefix: /api}}\n    ignoreUriCase: true\n    method: {{exact: GET}}\n    headers: {{End-User: {{exact: jason}}, x-any: {{}}, x-star: {{regex: \"*\"}}}}\n    withoutHeaders: {{x-no: {{}}}}\n    queryParams: {{v: {{regex: \"\\\\d+\"}}}}\n    port: 9080\n    sourceLabels: {{app: web}}\n    sourceNamespace: shop\n  {TO}"
    ));
    let matched = &route.matches[0];
    assert_eq!(matched.uri, Some(StringMatch::Prefix("/api".into())));
    assert!(matched.ignore_uri_case);
    assert_eq!(
        matched.headers["end-user"],
        ValueMatch::Value(StringMatch::Exact("jason".into()))
    );
    assert_eq!(matched.headers["x-any"], ValueMatch::Present);
    assert_eq!(matched.headers["x-star"], ValueMatch::Present);
    assert_eq!(matched.without_headers["x-no"], ValueMatch::Present);
    let ValueMatch::Value(value) = &matched.query_params["v"] else {
        panic!()
    };
    assert!(value.matches("12") && !value.matches("12x"));
    assert!(
        matched
            .source
            .matches(&[("app".into(), "web".into())].into(), "shop")
    );
    assert!(
        !matched
            .source
            .matches(&[("app".into(), "web".into())].into(), "other")
    );
}

#[test]
fn faults_timeouts_and_retries_are_read() {
    let forward = forward(&format!(
        "fault:\n    delay: {{fixedDelay: 7s, percentage: {{value: 0.1}}}}\n    abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 100}}}}\n  timeout: 0.5s\n  retries: {{attempts: 3, perTryTimeout: 2s, retryOn: \"5xx, 429,reset\", backoff: 10ms}}\n  {TO}"
    ));
    let fault = forward.fault.unwrap();
    let delay = fault.delay.unwrap();
    assert_eq!(
        (delay.fixed, delay.percentage.parts_per_million()),
        (Duration::from_secs(7), 1000)
    );
    assert_eq!(fault.abort.unwrap().status, AbortStatus::Grpc(14));
    assert_eq!(forward.timeout, Some(Duration::from_millis(500)));
    let retry_on = forward.retries.unwrap().retry_on.unwrap();
    assert_eq!(
        (retry_on.conditions, retry_on.status_codes),
        (vec!["5xx".into(), "reset".into()], vec![429])
    );
}

#[test]
fn without_a_percentage_faults_hit_nobody_and_mirrors_everybody() {
    let forward = forward(&format!(
        "fault: {{abort: {{httpStatus: 500}}}}\n  mirror: {{host: reviews, subset: v2}}\n  {TO}"
    ));
    assert_eq!(
        forward.fault.unwrap().abort.unwrap().percentage,
        Percent::default()
    );
    assert_eq!(forward.mirrors[0].percentage, Percent::HUNDRED);
}

#[test]
fn redirects_rewrites_and_direct_responses_are_read() {
    let HttpAction::Redirect(redirect) = http(
        "redirect: {uri: \"%PREFIX()%/new\", derivePort: FROM_REQUEST_PORT, redirectCode: 308}",
    )
    .action
    else {
        panic!()
    };
    assert_eq!(redirect.uri, Some(RedirectUri::Prefix("/new".into())));
    assert_eq!(
        (redirect.port, redirect.code),
        (Some(RedirectPort::FromRequestPort), 308)
    );
    let HttpAction::DirectResponse(direct) =
        http("directResponse: {status: 503, body: {string: sorry}}").action
    else {
        panic!()
    };
    assert_eq!(
        (direct.status, direct.body.as_deref()),
        (503, Some(b"sorry".as_slice()))
    );
    let rewrite = forward(&format!(
        "rewrite: {{uriRegexRewrite: {{match: \"^/a/(.*)\", rewrite: \"/\\\\1\"}}}}\n  {TO}"
    ))
    .rewrite;
    assert!(
        matches!(rewrite.unwrap().uri, Some(UriRewrite::Regex { rewrite, .. }) if rewrite == "/\\1")
    );
}

#[test]
fn tls_and_tcp_routes_are_read() {
    let spec = spec!(
        VirtualService,
        "hosts: [\"*.a.com\"]\ngateways: [gw]\ntls:\n- match: [{port: 443, sniHosts: [x.a.com]}]\n  route: [{destination: {host: x}}]\ntcp:\n- match: [{port: 9000, destinationSubnets: [10.0.0.0/8, 1.2.3.4]}]\n  route: [{destination: {host: x, port: {number: 1}}, weight: 1}, {destination: {host: y}, weight: 2}]"
    );
    assert_eq!(
        spec.tls[0].matches[0].sni_hosts,
        ["x.a.com".parse::<HostPattern>().unwrap()]
    );
    assert_eq!(
        spec.tcp[0].matches[0].destination_subnets[1].to_string(),
        "1.2.3.4/32"
    );
    assert_eq!(spec.tcp[0].destinations[1].weight, 2);
}

const WHAT_IS_REFUSED_IN_AN_OBJECT: &[(&str, &str)] = &[
    ("hosts: [a]", "spec: no routes; add http, tls or tcp"),
    (
        "http: [{route: [{destination: {host: a}}]}]",
        "spec.hosts: at least one host is required (delegate VirtualServices are not implemented yet); name the hosts",
    ),
    (
        "hosts: [\"*\"]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.hosts[0]: \"*\" is not allowed for sidecars; name the hosts, or bind the rules to a gateway with spec.gateways",
    ),
    (
        "hosts: [a.com, \"*.com\"]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.hosts[1]: *.com and a.com overlap; keep one of the two",
    ),
    (
        "hosts: [\"a.com:80\"]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.hosts[0]: \"a.com:80\" is not a DNS name: only letters, digits, '-' and '.' are allowed (no scheme, port or path)",
    ),
    (
        "hosts: [a]\ngateways: [\"a/b/c\"]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.gateways[0]: \"a/b/c\" is not the name of a Gateway; write NAME, NAMESPACE/NAME or mesh",
    ),
    (
        "hosts: [a]\nexportTo: [\"*\", b]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.exportTo[0]: \"*\" cannot stand beside other entries; keep one",
    ),
    (
        "hosts: [a]\nexportTo: [., shop]\nhttp: [{route: [{destination: {host: a}}]}]",
        "spec.exportTo[1]: namespace shop is listed twice; remove one",
    ),
    (
        "hosts: [a]\ntls: [{match: [{sniHosts: [b]}], route: [{destination: {host: a}}]}]",
        "spec.tls[0].match[0].sniHosts[0]: b is not within spec.hosts (a); add it to spec.hosts",
    ),
    (
        "hosts: [a]\ntcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]",
        "spec.tcp[0].match[0].sourceSubnet: not implemented yet; match the caller by sourceLabels or sourceNamespace",
    ),
    (
        "hosts: [a]\ntcp: [{match: [{destinationSubnets: [x]}], route: [{destination: {host: a}}]}]",
        "spec.tcp[0].match[0].destinationSubnets[0]: \"x\" is neither an IP address nor a range; write for example 10.1.2.3 or 10.0.0.0/8",
    ),
    (
        "hosts: [a]\ntcp: [{}]",
        "spec.tcp[0].route: required, but missing; name at least one destination",
    ),
];

#[test]
fn what_is_refused_in_an_object() {
    refuse_each("VirtualService", WHAT_IS_REFUSED_IN_AN_OBJECT);
}

const WHAT_IS_REFUSED_IN_A_ROUTE: &[(&str, &str)] = &[
    (
        "retires: {attempts: 1}\n  TO",
        "spec.http[0].retires: unknown field; did you mean \"retries\"?",
    ),
    (
        "delegate: {name: x}\n  TO",
        "spec.http[0].delegate: not implemented yet; put the routes into this VirtualService",
    ),
    (
        "name: x",
        "spec.http[0]: no action; add route, redirect or directResponse",
    ),
    (
        "redirect: {uri: /x}\n  TO",
        "spec.http[0].route: cannot be set together with redirect; keep one of redirect, route",
    ),
    (
        "redirect: {uri: /x}\n  timeout: 1s",
        "spec.http[0].timeout: has no effect together with redirect; remove it",
    ),
    (
        "redirect: {}",
        "spec.http[0].redirect: changes nothing; set one of uri, authority, port, derivePort, scheme, prefixRewrite",
    ),
    (
        "redirect: {uri: /x, redirectCode: 305}",
        "spec.http[0].redirect.redirectCode: 305 is not a redirect that browsers follow; use 301, 302, 303, 307 or 308",
    ),
    (
        "match: [{uri: {exact: /a}}]\n  redirect: {prefixRewrite: /x}",
        "spec.http[0].match[0].uri: a redirect of the prefix needs a match by prefix; use uri.prefix, or redirect.uri with a whole path",
    ),
    (
        "timeout: 500us\n  TO",
        "spec.http[0].timeout: \"500us\" is finer than a millisecond; round it to milliseconds",
    ),
    (
        "timeout: 5\n  TO",
        "spec.http[0].timeout: expected a duration, found the number 5; write a number with a unit, for example \"5s\"",
    ),
    (
        "timeout: 5 seconds\n  TO",
        "spec.http[0].timeout: \"5 seconds\" is not a duration: write a number with a unit, for example \"500ms\", \"10s\" or \"1h30m\"",
    ),
    (
        "retries: {perTryTimeout: 2s}\n  TO",
        "spec.http[0].retries.attempts: is 0 or missing, which turns retries off, but perTryTimeout is set; set attempts to 1 or more, or remove the others",
    ),
    (
        "retries: {attempts: 1, retryOn: \"5xx,connect-failures\"}\n  TO",
        "spec.http[0].retries.retryOn: \"connect-failures\" is not a retry condition; did you mean \"connect-failure\"?",
    ),
    (
        "fault: {delay: {fixedDelay: 7s, percentage: {value: 101}}}\n  TO",
        "spec.http[0].fault.delay.percentage.value: 101 is not within 0 to 100",
    ),
    (
        "fault: {abort: {percentage: {value: 1}}}\n  TO",
        "spec.http[0].fault.abort: no status; set httpStatus, for example 500, or grpcStatus",
    ),
    (
        "fault: {abort: {httpStatus: 42}}\n  TO",
        "spec.http[0].fault.abort.httpStatus: 42 is not a whole number from 200 to 599",
    ),
    (
        "fault: {abort: {grpcStatus: UNAVAILABEL}}\n  TO",
        "spec.http[0].fault.abort.grpcStatus: \"UNAVAILABEL\" is not a value of this field; did you mean UNAVAILABLE?",
    ),
    (
        "fault: {}\n  TO",
        "spec.http[0].fault: injects nothing; set delay or abort",
    ),
    (
        "rewrite: {}\n  TO",
        "spec.http[0].rewrite: rewrites nothing; set uri, uriRegexRewrite or authority",
    ),
    (
        "mirrorPercentage: {value: 5}\n  TO",
        "spec.http[0].mirrorPercentage: has no effect without mirror; add mirror, or remove it",
    ),
    (
        "headers: {request: {set: {\":path\": x}}}\n  TO",
        "spec.http[0].headers.request.set[:path]: :path cannot be changed here; use rewrite for path and authority",
    ),
    (
        "headers: {request: {set: {x: 1}}}\n  TO",
        "spec.http[0].headers.request.set[x]: expected a string, found the number 1; put it in quotes",
    ),
    (
        "rewrite: {authority: a}\n  headers: {request: {set: {Host: b}}}\n  TO",
        "spec.http[0].headers.request: the authority is set more than once; set it in rewrite.authority only",
    ),
    (
        "directResponse: {}",
        "spec.http[0].directResponse.status: required, but missing; name the HTTP status, for example 503",
    ),
    (
        "corsPolicy: {maxAge: 1.5s}\n  TO",
        "spec.http[0].corsPolicy.maxAge: has a fraction of a second; browsers count whole seconds: round it",
    ),
    (
        "route: [{destination: {host: \"*.a\"}}]",
        "spec.http[0].route[0].destination.host: \"*.a\" has a wildcard, but a concrete host is needed here",
    ),
    (
        "route: [{destination: {host: a, port: {number: 70000}}}]",
        "spec.http[0].route[0].destination.port.number: 70000 is not a whole number from 1 to 65535",
    ),
    (
        "route: [{destination: {host: a, port: {number: \"80\"}}}]",
        "spec.http[0].route[0].destination.port.number: expected a whole number, found the text \"80\"; remove the quotes",
    ),
    (
        "route: [{destination: {host: a, subset: v_1}}]",
        "spec.http[0].route[0].destination.subset: \"v_1\" is not a subset name: use at most 63 letters, digits and '-', not '-' at an end",
    ),
    (
        "route: [{destination: {host: a}, weight: -1}]",
        "spec.http[0].route[0].weight: -1 is not a whole number from 0 to 2147483647",
    ),
    (
        "route: [{destination: {host: a}}, {destination: {host: b}}]",
        "spec.http[0].route: all weights are 0; set weight on at least one destination",
    ),
    (
        "route: [{weight: 1}]",
        "spec.http[0].route[0].destination: required, but missing; name the service",
    ),
];

#[test]
fn what_is_refused_in_a_route() {
    for (route, expected) in WHAT_IS_REFUSED_IN_A_ROUTE {
        let found = refuse(
            "VirtualService",
            &format!("{HTTP}{}", route.replace("TO", TO)),
        );
        assert_eq!(found, [*expected], "{route}");
    }
}

const WHAT_IS_REFUSED_IN_A_MATCH: &[(&str, &str)] = &[
    (
        "uri: {exact: /a, prefix: /b}",
        "spec.http[0].match[0].uri: more than one of exact, prefix, regex; keep one",
    ),
    (
        "uri: {}",
        "spec.http[0].match[0].uri: empty match; set exact, prefix or regex, or remove it",
    ),
    (
        "uri: {exact: a}",
        "spec.http[0].match[0].uri.exact: \"a\" never matches: paths start with /; write \"/a\"",
    ),
    (
        "uri: {regex: \"(\"}",
        "spec.http[0].match[0].uri.regex: \"(\" is not a regular expression: unclosed group; use RE2 syntax (no look-around, no back references)",
    ),
    (
        "uri: {regex: \"(?=a)\"}",
        "spec.http[0].match[0].uri.regex: \"(?=a)\" is not a regular expression: look-around, including look-ahead and look-behind, is not supported; use RE2 syntax (no look-around, no back references)",
    ),
    (
        "uri: {regex: /a}\n    ignoreUriCase: true",
        "spec.http[0].match[0].ignoreUriCase: has no effect on a regex; start the regex with (?i) instead",
    ),
    (
        "method: {prefix: \"\"}",
        "spec.http[0].match[0].method.prefix: must not be empty; remove the match, or name a prefix",
    ),
    (
        "headers: {\":path\": {exact: /a}}",
        "spec.http[0].match[0].headers[:path]: :path is not matched as a header; use the field uri",
    ),
    (
        "headers: {\"@request.auth.claims.x\": {exact: a}}",
        "spec.http[0].match[0].headers[@request.auth.claims.x]: matching on JWT claims is not implemented yet; remove it",
    ),
    (
        "headers: {\"a b\": {exact: a}}",
        "spec.http[0].match[0].headers[a b]: \"a b\" is not a header name; use letters, digits and '-'",
    ),
    (
        "headers: {x: a}",
        "spec.http[0].match[0].headers[x]: expected an object, found the text \"a\"",
    ),
    (
        "headers: {x: {exact: a}}\n    withoutHeaders: {X: {}}",
        "spec.http[0].match[0].withoutHeaders[x]: contradicts headers: the match can never hold; remove one of the two",
    ),
    (
        "statPrefix: x",
        "spec.http[0].match[0].statPrefix: not implemented yet; use the route's name to tell its traffic apart",
    ),
    (
        "sourceNamespace: A_b",
        "spec.http[0].match[0].sourceNamespace: \"A_b\" is not a namespace",
    ),
    (
        "sourceLabels: {app: \"*\"}",
        "spec.http[0].match[0].sourceLabels[app]: wildcards are not supported in labels; name the exact label",
    ),
];

#[test]
fn what_is_refused_in_a_match() {
    for (matched, expected) in WHAT_IS_REFUSED_IN_A_MATCH {
        let found = refuse(
            "VirtualService",
            &format!("{HTTP}match:\n  - {matched}\n  {TO}"),
        );
        assert_eq!(found, [*expected], "{matched}");
    }
}
