//! Hosts against gateways and SNI, weights, contradictory and unreachable rules.

use super::Problems;
use crate::host::HostPattern;
use crate::matching::{StringMatch, ValueMatch};
use crate::virtual_service::{
    GatewayRef, HttpAction, HttpMatch, HttpRedirect, HttpRoute, RedirectUri, TlsRoute,
    VirtualService,
};

pub(super) fn check(spec: &VirtualService, found: &mut Problems) {
    hosts(spec, found);
    for (index, route) in spec.http.iter().enumerate() {
        http_route(route, &format!("spec.http[{index}]"), found);
    }
    for (index, route) in spec.tls.iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        weights(route.destinations.iter().map(|d| d.weight), &path, found);
        sni_hosts(spec, route, &path, found);
    }
    for (index, route) in spec.tcp.iter().enumerate() {
        weights(
            route.destinations.iter().map(|d| d.weight),
            &format!("spec.tcp[{index}]"),
            found,
        );
    }
    unreachable(spec, found);
}

fn hosts(spec: &VirtualService, found: &mut Problems) {
    let mesh_only = spec
        .gateways
        .iter()
        .all(|gateway| *gateway == GatewayRef::Mesh);
    for (index, host) in spec.hosts.iter().enumerate() {
        if mesh_only && *host == HostPattern::Any {
            found.error(
                format!("spec.hosts[{index}]"),
                "\"*\" is not allowed for sidecars",
                "name the hosts, or bind the rules to a gateway with spec.gateways",
            );
        }
        if let Some(other) = spec.hosts[..index]
            .iter()
            .find(|other| other.overlaps(host))
        {
            let problem = match other == host {
                true => format!("{host} is listed twice"),
                false => format!("{host} and {other} overlap"),
            };
            found.error(
                format!("spec.hosts[{index}]"),
                problem,
                "keep one of the two",
            );
        }
    }
}

fn http_route(route: &HttpRoute, path: &str, found: &mut Problems) {
    for (index, matched) in route.matches.iter().enumerate() {
        http_match(matched, &format!("{path}.match[{index}]"), found);
    }
    match &route.action {
        HttpAction::Forward(forward) => {
            weights(forward.destinations.iter().map(|d| d.weight), path, found);
            authority(route, path, found);
        }
        HttpAction::Redirect(redirect) => prefix_redirect(route, redirect, path, found),
        HttpAction::DirectResponse(_) => {}
    }
}

/// A route to several destinations must send something somewhere; Envoy adds weights in 32 bits.
fn weights(weights: impl ExactSizeIterator<Item = u32>, path: &str, found: &mut Problems) {
    let count = weights.len();
    let sum: u64 = weights.map(u64::from).sum();
    if count > 1 && sum == 0 {
        found.error(
            format!("{path}.route"),
            "all weights are 0",
            "set weight on at least one destination",
        );
    }
    if sum > u64::from(u32::MAX) {
        found.error(
            format!("{path}.route"),
            format!("the weights add up to {sum}"),
            "use weights that add up to 100",
        );
    }
}

fn http_match(matched: &HttpMatch, path: &str, found: &mut Problems) {
    for (name, value) in &matched.headers {
        let unless = matched.without_headers.get(name);
        if unless.is_some_and(|unless| unless == value || *unless == ValueMatch::Present) {
            found.error(
                format!("{path}.withoutHeaders[{name}]"),
                "contradicts headers: the match can never hold",
                "remove one of the two",
            );
        }
    }
    if matched.ignore_uri_case && matches!(matched.uri, Some(StringMatch::Regex(_))) {
        found.error(
            format!("{path}.ignoreUriCase"),
            "has no effect on a regex",
            "start the regex with (?i) instead",
        );
    }
    let sidecar_only = !matched.source.labels.is_empty() || matched.source.namespace.is_some();
    let gateways_only =
        !matched.gateways.is_empty() && !matched.gateways.contains(&GatewayRef::Mesh);
    if sidecar_only && gateways_only {
        found.warn(
            path,
            "sourceLabels and sourceNamespace have no effect at a gateway",
            "remove one of the two",
        );
    }
}

/// The authority is changed in one place only.
fn authority(route: &HttpRoute, path: &str, found: &mut Problems) {
    let HttpAction::Forward(forward) = &route.action else {
        return;
    };
    let is_authority = |name: &&String| *name == ":authority" || name.eq_ignore_ascii_case("host");
    let request = &route.headers.request;
    let headers = request
        .set
        .keys()
        .chain(request.add.keys())
        .filter(is_authority)
        .count();
    let rewrite = forward
        .rewrite
        .as_ref()
        .is_some_and(|rewrite| rewrite.authority.is_some());
    if headers + usize::from(rewrite) > 1 {
        found.error(
            format!("{path}.headers.request"),
            "the authority is set more than once",
            "set it in rewrite.authority only",
        );
    }
}

fn prefix_redirect(route: &HttpRoute, redirect: &HttpRedirect, path: &str, found: &mut Problems) {
    if !matches!(redirect.uri, Some(RedirectUri::Prefix(_))) {
        return;
    }
    for (index, matched) in route.matches.iter().enumerate() {
        if matches!(
            matched.uri,
            Some(StringMatch::Exact(_) | StringMatch::Regex(_))
        ) {
            found.error(
                format!("{path}.match[{index}].uri"),
                "a redirect of the prefix needs a match by prefix",
                "use uri.prefix, or redirect.uri with a whole path",
            );
        }
    }
}

fn sni_hosts(spec: &VirtualService, route: &TlsRoute, path: &str, found: &mut Problems) {
    for (index, matched) in route.matches.iter().enumerate() {
        for (sni_index, sni) in matched.sni_hosts.iter().enumerate() {
            if !spec.hosts.iter().any(|host| host.covers(sni)) {
                let hosts: Vec<String> = spec.hosts.iter().map(ToString::to_string).collect();
                found.error(
                    format!("{path}.match[{index}].sniHosts[{sni_index}]"),
                    format!("{sni} is not within spec.hosts ({})", hosts.join(", ")),
                    "add it to spec.hosts",
                );
            }
        }
    }
}

/// Rules behind one that matches everything, and repeated matches: seen by nobody.
fn unreachable(spec: &VirtualService, found: &mut Problems) {
    let catch_all = spec.http.iter().position(|route| route.matches.is_empty());
    let after = catch_all.map_or(spec.http.len(), |index| index + 1);
    for index in after..spec.http.len() {
        let problem = format!("is never reached: http[{}] matches everything", after - 1);
        found.warn(
            format!("spec.http[{index}]"),
            problem,
            "move it up, or remove it",
        );
    }
    let mut seen: Vec<(&HttpMatch, String)> = Vec::new();
    for (index, route) in spec.http.iter().enumerate() {
        for (match_index, matched) in route.matches.iter().enumerate() {
            let path = format!("spec.http[{index}].match[{match_index}]");
            match seen.iter().find(|(other, _)| *other == matched) {
                Some((_, first)) => found.warn(
                    path,
                    format!("is never used: {first} is the same"),
                    "remove one",
                ),
                None => seen.push((matched, path)),
            }
        }
    }
    let catch_all = spec.tcp.iter().position(|route| route.matches.is_empty());
    for index in catch_all.map_or(spec.tcp.len(), |index| index + 1)..spec.tcp.len() {
        found.warn(
            format!("spec.tcp[{index}]"),
            "is never reached: an earlier rule matches everything",
            "remove it",
        );
    }
}
