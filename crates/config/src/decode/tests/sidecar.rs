use super::{refuse_each, spec};
use crate::sidecar::{IngressEndpoint, OutboundMode};

#[test]
fn sidecars_are_read() {
    let sidecar = spec!(
        Sidecar,
        "workloadSelector: {labels: {app: web}}\ningress:\n- port: {number: 80, protocol: HTTP, name: web}\n  defaultEndpoint: 127.0.0.1:8080\negress:\n- port: {number: 3306, protocol: MYSQL}\n  bind: 127.0.0.1\n  captureMode: NONE\n  hosts: [\"*/mysql.foo.com\"]\n- hosts: [./*, istio-system/*]\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}"
    );
    assert_eq!(
        sidecar.outbound_traffic_policy,
        Some(OutboundMode::RegistryOnly)
    );
    assert_eq!(
        sidecar.ingress[0].default_endpoint,
        IngressEndpoint::Loopback("127.0.0.1:8080".parse().unwrap())
    );
    let rest = &sidecar.egress[1];
    assert!(rest.hosts[0].contains("shop", "a.shop.svc.cluster.local"));
    assert!(!rest.hosts[0].contains("other", "a.other.svc.cluster.local"));
    assert!(rest.hosts[1].contains("istio-system", "x"));
}

const WHAT_IS_REFUSED: &[(&str, &str)] = &[
    (
        "workloadSelector: {labels: {a: b}}",
        "spec: says nothing; set one of ingress, egress, outboundTrafficPolicy, inboundConnectionPool",
    ),
    (
        "egress: [{hosts: [a.com]}]",
        "spec.egress[0].hosts[0]: \"a.com\" has no namespace; write \"./a.com\", \"*/a.com\" or \"NAMESPACE/a.com\"",
    ),
    (
        "egress: [{hosts: []}]",
        "spec.egress[0].hosts: required, but missing; name at least one, for example \"./*\"",
    ),
    (
        "egress: [{hosts: [./*]}, {hosts: [./*], port: {number: 1}}]",
        "spec.egress[0]: a listener without a port takes all other ports and must be the only one, at the end; move it to the end",
    ),
    (
        "egress: [{hosts: [./*], bind: 127.0.0.1}]",
        "spec.egress[0]: bind and captureMode need a port; add port, or remove them",
    ),
    (
        "ingress: [{port: {number: 1}, defaultEndpoint: \"8.8.8.8:1\"}]",
        "spec.ingress[0].defaultEndpoint: 8.8.8.8 is not an address of the pod; write 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///path",
    ),
    (
        "ingress: [{port: {number: 1}, tls: {mode: SIMPLE}}]",
        "spec.ingress[0].tls: not implemented yet; terminate TLS in the application, or use a Gateway",
    ),
    (
        "ingress: [{port: {number: 1}}, {port: {number: 1}}]",
        "spec.ingress[1].port: port 1 is listed twice; keep one",
    ),
    (
        "outboundTrafficPolicy: {egressProxy: {host: a}}",
        "spec.outboundTrafficPolicy.egressProxy: not implemented yet; route to the egress gateway with a VirtualService",
    ),
];

#[test]
fn what_is_refused() {
    refuse_each("Sidecar", WHAT_IS_REFUSED);
}
