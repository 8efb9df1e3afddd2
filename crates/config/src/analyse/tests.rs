use super::*;
use crate::decode::{Decoded, documents};

fn resources(text: &str) -> Vec<Resource> {
    let read = |result| match result {
        Ok(Decoded::Mesh(resource)) => resource,
        other => panic!("{other:?}"),
    };
    documents(text, "f").into_iter().map(read).collect()
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    let group = if kind.contains("Auth") {
        "security"
    } else {
        "networking"
    };
    format!(
        "---\napiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn findings(text: &str) -> Vec<String> {
    let services = [KnownService {
        host: "reviews.shop.svc.cluster.local".into(),
        ports: vec![9080],
    }];
    let found = analyse(&resources(text), Some(&services), &MeshConfig::default());
    found.iter().map(ToString::to_string).collect()
}

const RULE: &str = "{host: reviews, subsets: [{name: v1}]}";

#[test]
fn good_references_are_silent() {
    let text = object(
        "VirtualService",
        "a",
        "{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}",
    ) + &object("DestinationRule", "b", RULE);
    assert_eq!(findings(&text), [""; 0]);
}

#[test]
fn references_that_lead_nowhere_are_found() {
    let text = object(
        "VirtualService",
        "a",
        "{hosts: [x.com], gateways: [gw], http: [{route: [{destination: {host: revews}, weight: 1}, {destination: {host: reviews, subset: v3, port: {number: 80}}, weight: 1}]}]}",
    ) + &object("DestinationRule", "b", RULE)
        + &object("DestinationRule", "c", "{host: nobody}");
    assert_eq!(
        findings(&text),
        [
            "error IST0101: VirtualService shop/a: spec.gateways[0]: no Gateway shop/gw; create it or correct the name",
            "error IST0101: VirtualService shop/a: spec.http[0].route[0].destination.host: no service or ServiceEntry has the host revews.shop.svc.cluster.local; requests get a 503",
            "error IST0101: VirtualService shop/a: spec.http[0].route[1].destination.port: reviews.shop.svc.cluster.local has no port 80; it has [9080]",
            "error IST0101: VirtualService shop/a: spec.http[0].route[1].destination.subset: no DestinationRule defines the subset v3 of reviews.shop.svc.cluster.local; requests get a 503",
            "warning IST0174: DestinationRule shop/c: spec.host: no service or ServiceEntry has the host nobody.shop.svc.cluster.local; the rule has no effect",
        ]
    );
}

#[test]
fn hosts_a_gateway_does_not_take_are_found() {
    let text = object(
        "Gateway",
        "gw",
        "{selector: {a: b}, servers: [{hosts: [x.com], port: {number: 80, name: http, protocol: HTTP}}]}",
    ) + &object(
        "VirtualService",
        "a",
        "{hosts: [y.com], gateways: [gw], http: [{route: [{destination: {host: reviews}}]}]}",
    );
    assert_eq!(
        findings(&text),
        [
            "warning IST0132: VirtualService shop/a: spec.gateways[0]: no server of Gateway shop/gw takes the hosts y.com; add them to its servers' hosts"
        ]
    );
}

#[test]
fn conflicts_are_found() {
    let service = "{hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}";
    let gateway = "{selector: {a: b}, servers: [{hosts: [x.com], port: {number: 80, name: http, protocol: HTTP}}]}";
    let text = object("VirtualService", "a", service)
        + &object("VirtualService", "b", service)
        + &object("Gateway", "g", gateway)
        + &object("Gateway", "h", gateway)
        + &object("PeerAuthentication", "p", "{mtls: {mode: STRICT}}")
        + &object("PeerAuthentication", "q", "{mtls: {mode: DISABLE}}")
        + &object("Sidecar", "s", "{egress: [{hosts: [./*]}]}")
        + &object("Sidecar", "t", "{egress: [{hosts: [./*]}]}")
        + &object("Sidecar", "t", "{egress: [{hosts: [./*]}]}");
    let found = findings(&text);
    let codes: Vec<&str> = found
        .iter()
        .map(|text| text.split([' ', ':']).nth(1).unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "IST0106", "IST0109", "IST0145", "IST0167", "IST0111", "IST0111"
        ],
        "{found:#?}"
    );
    assert_eq!(
        found[1],
        "error IST0109: VirtualService shop/b: spec.hosts: shop/a has rules for reviews.shop.svc.cluster.local too and takes precedence; merge the two"
    );
}
