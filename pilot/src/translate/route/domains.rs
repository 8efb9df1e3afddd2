//! The names by which a service's virtual host is asked for.

use std::net::IpAddr;

use hashbrown::HashSet;

use crate::model::{Registry, Resolution, Service};

/// The domains of a service for clients in `namespace`, the full name first.
///
/// `dns_domain`: the client's search domain, `NAMESPACE.svc.cluster.local`. Ports are left out: route
/// configurations ignore them.
pub(super) fn of_service(service: &Service, dns_domain: &str) -> Vec<String> {
    let host = &*service.hostname;
    let is_ip = host.parse::<IpAddr>().is_ok();
    let mut out = if is_ip || service.is_wildcard() {
        vec![host.to_owned()]
    } else {
        of_name(host, dns_domain)
    };
    if service.resolution == Resolution::Passthrough && service.registry == Registry::Kubernetes {
        let pods: Vec<String> = out.iter().map(|domain| format!("*.{domain}")).collect();
        out.extend(pods);
    }
    out.extend(service.addresses().map(ip_domain));
    out
}

/// A name of the cluster's DNS, whole first, and what it is shortened to.
pub(super) fn of_name(host: &str, dns_domain: &str) -> Vec<String> {
    let mut out = vec![host.to_owned(), format!("{host}.")];
    out.extend(short_names(host, dns_domain));
    out
}

/// `name`, `name.namespace`, `name.namespace.svc`, as far as the client's search domain lets them
/// lead to the service.
///
/// Source: Istio, alternate virtual hosts.
fn short_names(host: &str, dns_domain: &str) -> Vec<String> {
    let Some((namespace, suffix)) = dns_domain.split_once(".svc.") else {
        return Vec::new();
    };
    let Some(base) = host.strip_suffix(&format!(".svc.{suffix}")) else {
        return Vec::new();
    };
    let Some((name, own)) = base.split_once('.') else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if own == namespace {
        out.push(name.to_owned());
    }
    out.push(base.to_owned());
    out.push(format!("{base}.svc"));
    out
}

/// An address as it stands in an authority.
fn ip_domain(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Keeps only domains that no virtual host has yet: Envoy refuses duplicates. Full names of known
/// services are not taken by another service's short name.
pub(super) fn dedupe(
    domains: Vec<String>,
    taken: &mut HashSet<String>,
    full_names: &HashSet<String>,
) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (index, domain) in domains.into_iter().enumerate() {
        let key = domain.to_ascii_lowercase();
        if index > 0 && full_names.contains(&key) {
            continue;
        }
        if taken.insert(key) {
            out.push(domain);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_own_namespace_may_use_the_bare_name() {
        let host = "reviews.default.svc.cluster.local";
        assert_eq!(
            short_names(host, "default.svc.cluster.local"),
            ["reviews", "reviews.default", "reviews.default.svc"]
        );
        assert_eq!(
            short_names(host, "other.svc.cluster.local"),
            ["reviews.default", "reviews.default.svc"]
        );
    }

    #[test]
    fn hosts_outside_the_cluster_have_no_short_names() {
        assert!(short_names("httpbin.org", "default.svc.cluster.local").is_empty());
    }
}
