use super::{refuse_each, spec};
use crate::service_entry::{EntryEndpoints, Location};
use crate::workload_entry::WorkloadAddress;
use crate::{ExportTo, Protocol};

#[test]
fn entries_are_read() {
    let entry = spec!(
        ServiceEntry,
        "hosts: [api.example.com]\naddresses: [240.0.0.1]\nports:\n- {number: 443, name: https, protocol: TLS}\n- {number: 80, name: any, targetPort: 8080}\nlocation: MESH_EXTERNAL\nresolution: DNS\nexportTo: [\"~\"]"
    );
    assert_eq!(
        entry.endpoints,
        EntryEndpoints::Dns {
            endpoints: vec![],
            logical: false
        }
    );
    assert_eq!(
        (entry.location, entry.export_to),
        (Location::MeshExternal, ExportTo::Nowhere)
    );
    assert_eq!(
        (entry.ports[0].protocol, entry.ports[1].protocol),
        (Protocol::Tls, Protocol::Undeclared)
    );
    let entry = spec!(
        ServiceEntry,
        "hosts: [db.internal]\nlocation: MESH_INTERNAL\nresolution: STATIC\nports: [{number: 1, name: tcp, protocol: TCP}]\nendpoints: [{address: 10.0.0.1, ports: {tcp: 2}, weight: 3}]"
    );
    assert_eq!(entry.endpoints.inline()[0].ports["tcp"].get(), 2);
    let entry = spec!(
        ServiceEntry,
        "hosts: [db.internal]\nresolution: STATIC\nworkloadSelector: {labels: {app: db}}"
    );
    assert!(
        entry
            .endpoints
            .selector()
            .unwrap()
            .matches(&[("app".into(), "db".into())].into())
    );
}

#[test]
fn workload_entries_are_read() {
    let entry = spec!(
        WorkloadEntry,
        "address: vm.example.com\nserviceAccount: vm\nlabels: {app: db}"
    );
    assert_eq!(
        entry.address,
        WorkloadAddress::Dns("vm.example.com".parse().unwrap())
    );
    refuse_each(
        "WorkloadEntry",
        &[
            (
                "labels: {}",
                "spec.address: required, but missing; name an IP address or a host",
            ),
            (
                "address: unix://x",
                "spec.address: \"x\" is not an absolute path; write unix:///path",
            ),
            (
                "address: unix:///x\nports: {a: 1}",
                "spec.ports: a unix socket has no ports; remove it",
            ),
            (
                "address: 1.2.3.4\nnetwork: n",
                "spec.network: not implemented yet; all workloads must be reachable directly",
            ),
            (
                "address: 1.2.3.4\nports: {a: 0}",
                "spec.ports[a]: 0 is not a whole number from 1 to 65535",
            ),
        ],
    );
}

const WHAT_IS_REFUSED: &[(&str, &str)] = &[
    (
        "resolution: DNS",
        "spec.hosts: at least one host is required; name the hosts",
    ),
    (
        "hosts: [\"*\"]",
        "spec.hosts[0]: \"*\" is not allowed; name the hosts, for example *.example.com",
    ),
    (
        "hosts: [\"*.a.com\"]\nresolution: DNS",
        "spec.hosts[0]: *.a.com cannot be resolved by DNS; name endpoints, use resolution NONE, or name the host",
    ),
    (
        "hosts: [a.com]\nresolution: DYNAMIC_DNS",
        "spec.resolution: DYNAMIC_DNS is not implemented yet; use DNS with the names of the hosts, or NONE",
    ),
    (
        "hosts: [a.com]\nendpoints: [{address: 1.2.3.4}]",
        "spec.endpoints: cannot be set with resolution NONE (the default); set resolution to STATIC or DNS, or remove it",
    ),
    (
        "hosts: [a.com]\nresolution: STATIC\nendpoints: [{address: b.com}]",
        "spec.endpoints[0]: endpoint address b.com is not an IP address, as resolution STATIC needs; use resolution DNS",
    ),
    (
        "hosts: [a.com]\nresolution: STATIC\nendpoints: [{address: 1.2.3.4}]\nworkloadSelector: {labels: {a: b}}",
        "spec.endpoints: cannot be set together with workloadSelector; keep one of workloadSelector, endpoints",
    ),
    (
        "hosts: [a.com]\nresolution: STATIC\nendpoints: [{address: 1.2.3.4, ports: {x: 1}}]",
        "spec.endpoints[0].ports[x]: the service has no port named \"x\"; use a name of spec.ports",
    ),
    (
        "hosts: [a.com]\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: b.com}, {address: c.com}]",
        "spec.endpoints: DNS_ROUND_ROBIN takes one endpoint at most; use resolution DNS",
    ),
    (
        "hosts: [a.com]\nresolution: DNS\naddresses: [10.0.0.0/8]",
        "spec.addresses[0]: the range 10.0.0.0/8 is allowed with resolution NONE and STATIC only; name single addresses",
    ),
    (
        "hosts: [a.com, b.com]\nresolution: DNS\nports: [{number: 1, name: a, protocol: TCP}]",
        "spec.ports[0].protocol: TCP cannot tell several hosts apart; use HTTP, HTTPS or TLS, or one ServiceEntry for each host",
    ),
    (
        "hosts: [a.com]\nports: [{number: 1, name: a}, {number: 1, name: b}]",
        "spec.ports[1].number: port 1 is listed twice; remove one",
    ),
    (
        "hosts: [a.com]\nports: [{number: 1, name: a, protocol: UDP}]",
        "spec.ports[0].protocol: UDP is not proxied; use a protocol over TCP, or remove the port",
    ),
];

#[test]
fn what_is_refused() {
    refuse_each("ServiceEntry", WHAT_IS_REFUSED);
}
