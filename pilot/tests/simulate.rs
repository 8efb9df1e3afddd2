//! Istio's published walk-throughs, answered by the data plane's own engine: pilot translates the
//! manifests, mesh-route compiles the result and says where requests go.

#![allow(clippy::unwrap_used)]

#[path = "support/sim.rs"]
mod sim;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use mesh_pilot::translate::ProxyKind;
use sim::{Ask, Caller, Sim};
use world::World;

const REVIEWS: &str = "10.96.1.4:9080";
const RATINGS: &str = "10.96.1.3:9080";
const JASON: [(&str, &str); 1] = [("end-user", "jason")];

fn bookinfo() -> World {
    World::default().load(include_str!("support/bookinfo.yaml"))
}

/// Bookinfo with subsets and one of the walk-through's networking files.
fn with(file: &str) -> World {
    bookinfo()
        .load_file("samples/bookinfo/networking/destination-rule-all.yaml")
        .load_file(&format!("samples/bookinfo/networking/{file}"))
}

fn reviews(subset: &str) -> String {
    format!("outbound|9080|{subset}|reviews.default.svc.cluster.local")
}

fn to_reviews<'a>() -> Ask<'a> {
    Ask::get(REVIEWS, "reviews:9080")
}

#[test]
fn without_rules_a_service_is_reached_by_all_its_names() {
    let sim = Sim::sidecar(&bookinfo(), "productpage-v1");
    for name in [
        "reviews",
        "reviews:9080",
        "reviews.default",
        "reviews.default.svc",
        "reviews.default.svc.cluster.local",
        "reviews.default.svc.cluster.local.",
        "10.96.1.4:9080",
    ] {
        assert_eq!(sim.outbound(Ask::get(REVIEWS, name)), reviews(""), "{name}");
    }
}

#[test]
fn all_v1_sends_everybody_to_v1() {
    let sim = Sim::sidecar(&with("virtual-service-all-v1.yaml"), "productpage-v1");
    for random in 0..100 {
        let ask = Ask {
            random: random * (u64::MAX / 100),
            ..to_reviews()
        };
        assert_eq!(sim.outbound(ask), reviews("v1"));
    }
}

#[test]
fn jason_alone_sees_v2() {
    let world = with("virtual-service-all-v1.yaml")
        .load_file("samples/bookinfo/networking/virtual-service-reviews-test-v2.yaml");
    let sim = Sim::sidecar(&world, "productpage-v1");
    assert_eq!(sim.outbound(to_reviews()), reviews("v1"));
    let jason = Ask {
        headers: &JASON,
        ..to_reviews()
    };
    assert_eq!(sim.outbound(jason), reviews("v2"));
}

#[test]
fn weights_share_the_requests() {
    let sim = Sim::sidecar(
        &with("virtual-service-reviews-80-20.yaml"),
        "productpage-v1",
    );
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for step in 0..1000_u64 {
        let random = step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let ask = Ask {
            random,
            ..to_reviews()
        };
        *counts.entry(sim.outbound(ask)).or_default() += 1;
    }
    let v1 = counts[&reviews("v1")];
    assert!((770..=830).contains(&v1), "{counts:?}");
    assert_eq!(counts.len(), 2);
}

#[test]
fn jasons_ratings_are_delayed_or_refused() {
    let delay = Sim::sidecar(
        &with("virtual-service-ratings-test-delay.yaml"),
        "reviews-v2",
    );
    let ask = Ask::get(RATINGS, "ratings:9080");
    let jason = Ask {
        headers: &JASON,
        ..ask
    };
    let decision = delay.fault(jason).unwrap();
    assert_eq!(decision.delay, Some(std::time::Duration::from_secs(7)));
    assert!(delay.fault(ask).is_none_or(|fault| fault.delay.is_none()));

    let abort = Sim::sidecar(
        &with("virtual-service-ratings-test-abort.yaml"),
        "reviews-v2",
    );
    let decision = abort.fault(jason).unwrap();
    assert_eq!(decision.abort, Some(mesh_route::fault::Abort::Http(500)));
    assert!(abort.fault(ask).is_none_or(|fault| fault.abort.is_none()));
}

#[test]
fn the_gateway_serves_the_product_page_and_nothing_else() {
    let world = bookinfo().load_file("samples/bookinfo/networking/bookinfo-gateway.yaml");
    let gateway = Sim::new(&world, "gateway", ProxyKind::Router);
    let page = Ask {
        path: "/productpage",
        ..Ask::get("10.244.0.20:8080", "any.example")
    };
    let bound: Vec<u16> = gateway
        .engine
        .bound()
        .iter()
        .map(|l| l.address.port())
        .collect();
    let port = bound[0];
    let cluster = "outbound|9080||productpage.default.svc.cluster.local";
    assert_eq!(gateway.gateway(port, None, page), cluster);
    let other = Ask {
        path: "/secret",
        ..page
    };
    assert_eq!(gateway.gateway(port, None, other), "404");
}

#[test]
fn unknown_hosts_pass_or_get_502() {
    let unknown = Ask::get("93.184.216.34:81", "www.example.com");
    let allow = Sim::sidecar(&bookinfo(), "productpage-v1");
    assert_eq!(allow.outbound(unknown), "tcp PassthroughCluster");
    // On a port that services use, the request itself tells the host.
    let same_port = Ask::get("93.184.216.34:9080", "www.example.com");
    assert_eq!(allow.outbound(same_port), "PassthroughCluster");

    let registry_only = bookinfo().load(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
         data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}\n",
    );
    let refuse = Sim::sidecar(&registry_only, "productpage-v1");
    assert_eq!(refuse.outbound(unknown), "502");
    assert_eq!(refuse.outbound(same_port), "502");
    assert_eq!(
        refuse.outbound_tls("93.184.216.34:443", "www.example.com"),
        "BlackHoleCluster"
    );
}

fn mesh<'a>(principal: &'a str) -> Caller<'a> {
    Caller {
        principal: Some(principal),
        alpn: "istio-http/1.1",
    }
}

const PLAIN: Caller<'static> = Caller {
    principal: None,
    alpn: "http/1.1",
};
const PAGE: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
const IN: &str = "inbound|9080||";

fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: default, namespace: istio-system}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

#[test]
fn strict_refuses_plain_text_and_permissive_serves_it() {
    let ask = Ask::get("10.244.0.11:9080", "reviews:9080");
    let permissive = Sim::sidecar(&bookinfo(), "reviews-v1");
    assert_eq!(permissive.inbound(PLAIN, ask), IN);
    assert_eq!(permissive.inbound(mesh(PAGE), ask), IN);

    let strict = bookinfo().load(&peer_authentication("STRICT"));
    let strict = Sim::sidecar(&strict, "reviews-v1");
    assert_eq!(strict.inbound(PLAIN, ask), "closed");
    assert_eq!(strict.inbound(mesh(PAGE), ask), IN);
    // Ports that no service names are no way round it.
    let other = Ask::get("10.244.0.11:7777", "reviews");
    assert_eq!(strict.inbound(PLAIN, other), "closed");

    let disable = bookinfo().load(&peer_authentication("DISABLE"));
    let disable = Sim::sidecar(&disable, "reviews-v1");
    assert_eq!(disable.inbound(PLAIN, ask), IN);
}

#[test]
fn deny_hits_one_caller_on_one_path_only() {
    let world = bookinfo().load(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {name: deny-page, namespace: default}\nspec:\n  action: DENY\n  \
         selector: {matchLabels: {app: reviews}}\n  rules:\n  \
         - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]\n    \
           to: [{operation: {paths: ['/reviews/*']}}]\n",
    );
    let sim = Sim::sidecar(&world, "reviews-v1");
    let ask = Ask {
        path: "/reviews/0",
        ..Ask::get("10.244.0.11:9080", "reviews:9080")
    };
    assert_eq!(sim.inbound(mesh(PAGE), ask), "403");
    let health = Ask {
        path: "/health",
        ..ask
    };
    assert_eq!(sim.inbound(mesh(PAGE), health), IN);
    let other = "spiffe://cluster.local/ns/default/sa/bookinfo-ratings";
    assert_eq!(sim.inbound(mesh(other), ask), IN);
    assert_eq!(sim.inbound(PLAIN, ask), IN);
    // Other workloads of the namespace are not selected.
    let details = Sim::sidecar(&world, "details-v1");
    let ask = Ask {
        path: "/reviews/0",
        ..Ask::get("10.244.0.3:9080", "details:9080")
    };
    assert_eq!(details.inbound(mesh(PAGE), ask), IN);
}

#[test]
fn an_allow_policy_without_rules_allows_nothing() {
    let world = bookinfo().load(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {name: nothing, namespace: default}\nspec: {}\n",
    );
    let sim = Sim::sidecar(&world, "reviews-v1");
    let ask = Ask::get("10.244.0.11:9080", "reviews:9080");
    assert_eq!(sim.inbound(mesh(PAGE), ask), "403");
}

#[test]
fn on_tcp_ports_http_conditions_never_allow_and_are_ignored_by_deny() {
    let server = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: default}\n\
        spec: {clusterIP: 10.96.1.9, selector: {app: details}, ports: [{name: tcp, port: 9999}]}\n---\n";
    let policy = |action: &str| {
        format!(
            "{server}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: p, namespace: default}}\nspec:\n  action: {action}\n  rules:\n  \
             - to: [{{operation: {{methods: [GET], ports: ['9999']}}}}]\n"
        )
    };
    let ask = Ask::get("10.244.0.3:9999", "db");
    let tcp = Caller {
        principal: Some(PAGE),
        alpn: "istio",
    };
    let allow = Sim::sidecar(&bookinfo().load(&policy("ALLOW")), "details-v1");
    assert_eq!(allow.inbound(tcp, ask), "403");
    let deny = Sim::sidecar(&bookinfo().load(&policy("DENY")), "details-v1");
    assert_eq!(deny.inbound(tcp, ask), "403");
}

#[test]
fn tls_to_external_hosts_goes_by_name() {
    let world = bookinfo().load(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {name: out, namespace: default}\nspec:\n  hosts: [api.example.com]\n  \
         ports: [{number: 443, name: tls, protocol: TLS}]\n  resolution: DNS\n",
    );
    let sim = Sim::sidecar(&world, "productpage-v1");
    let to = "93.184.216.34:443";
    assert_eq!(
        sim.outbound_tls(to, "api.example.com"),
        "outbound|443||api.example.com"
    );
    assert_eq!(
        sim.outbound_tls(to, "other.example.com"),
        "PassthroughCluster"
    );
}

#[test]
fn every_networking_file_compiles() {
    let dir =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/bookinfo/networking");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let world = with(&name);
        for pod in ["productpage-v1", "reviews-v2", "ratings-v1"] {
            Sim::sidecar(&world, pod);
        }
        Sim::new(&world, "gateway", ProxyKind::Router);
    }
}
