use super::*;
use crate::ingest::{MeshConfigMap, decode_all};
use crate::translate::{EncodedResource, Names, OWN_CONFIG, Proxy, ProxyKind, affected, resources};
use mesh_xds::NamedResource;
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n\
    spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}\n---\n";

fn slice(addresses: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: a-1, namespace: default, labels: {{kubernetes.io/service-name: a}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{{addresses: [{addresses}]}}]\n---\n"
    )
}

fn pod(name: &str, ip: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}\n\
         spec: {{serviceAccountName: {name}, containers: [{{name: c}}]}}\n\
         status: {{podIP: {ip}, phase: Running}}\n---\n"
    )
}

fn snapshot(text: &str) -> Snapshot {
    let manifests = decode_all(text, "test", &MeshConfigMap::default());
    assert!(manifests.problems.is_empty(), "{:#?}", manifests.problems);
    Snapshot::build(manifests.items.into_iter().map(|(_, item)| item).collect())
}

fn proxy(ip: &str) -> Proxy {
    Proxy {
        id: "x".to_owned(),
        kind: ProxyKind::Sidecar,
        ip: ip.parse().unwrap(),
        pod: "p".to_owned(),
        namespace: "default".to_owned(),
        dns_domain: "default.svc.cluster.local".to_owned(),
        labels: crate::model::Labels::new(),
        service_account: "default".to_owned(),
        workload: "p".to_owned(),
        locality: crate::model::Locality::default(),
        metadata: std::collections::BTreeMap::new(),
    }
}

#[test]
fn nothing_changed_means_nothing_to_push() {
    let before = snapshot(SERVICE);
    let after = snapshot(SERVICE);
    assert!(after.change_since(&before).is_empty());
}

#[test]
fn a_new_endpoint_of_unknown_identity_is_an_endpoint_push_only() {
    let before = snapshot(&format!("{SERVICE}{}", slice("10.244.0.5")));
    let after = snapshot(&format!("{SERVICE}{}", slice("10.244.0.5, 10.244.0.6")));
    let change = after.change_since(&before);
    let types = affected(&change, &proxy("10.244.0.9"));
    assert!(types.endpoints);
    assert!(!(types.clusters || types.listeners || types.routes || types.secrets));
    assert!(change.touches_endpoints_of("outbound|80||a.default.svc.cluster.local"));
    assert!(!change.touches_endpoints_of("outbound|80||b.default.svc.cluster.local"));
}

#[test]
fn a_new_server_identity_changes_the_clusters_that_name_it() {
    let one = format!(
        "{SERVICE}{}{}",
        slice("10.244.0.5"),
        pod("x", "10.244.0.5", "")
    );
    let two = format!(
        "{SERVICE}{}{}{}",
        slice("10.244.0.5, 10.244.0.6"),
        pod("x", "10.244.0.5", ""),
        pod("y", "10.244.0.6", "")
    );
    let (before, after) = (snapshot(&one), snapshot(&two));
    let change = after.change_since(&before);
    let types = affected(&change, &proxy("10.244.0.9"));
    assert!(types.clusters && types.endpoints && !types.routes);
}

#[test]
fn relabelled_pods_get_everything_anew_and_others_their_endpoints() {
    let base = format!("{SERVICE}{}", slice("10.244.0.5"));
    let before = snapshot(&format!("{base}{}", pod("x", "10.244.0.5", "version: v1")));
    let after = snapshot(&format!("{base}{}", pod("x", "10.244.0.5", "version: v2")));
    let change = after.change_since(&before);
    assert_eq!(
        affected(&change, &proxy("10.244.0.5")),
        crate::translate::Types::ALL
    );
    let other = affected(&change, &proxy("10.244.0.9"));
    assert!(other.endpoints && !other.listeners);
}

#[test]
fn external_names_lead_to_what_stands_at_their_end() {
    let external = |name: &str, target: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: other}}\n\
             spec: {{type: ExternalName, externalName: {target}}}\n---\n"
        )
    };
    let rules = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                 metadata: {name: r, namespace: other}\nspec: {host: first}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {name: r, namespace: other}\n\
                 spec: {hosts: [first], http: [{route: [{destination: {host: second}}]}]}\n---\n";
    let text = [
        SERVICE,
        &external("first", "second.other.svc.cluster.local"),
        &external("second", "A.default.svc.cluster.local."),
        &external("circle", "round.other.svc.cluster.local"),
        &external("round", "circle.other.svc.cluster.local"),
        &external("web", "example.com"),
        rules,
    ]
    .concat();
    let snapshot = snapshot(&text);
    let registry = &snapshot.registry;
    let a = "a.default.svc.cluster.local";
    let names: Vec<&str> = registry
        .aliases(a)
        .iter()
        .map(|alias| &*alias.hostname)
        .collect();
    let [first, second] = ["first", "second"].map(|name| format!("{name}.other.svc.cluster.local"));
    assert_eq!(names, [&first, &second]);
    assert_eq!(registry.alias_end(&first), a);
    let circle = "circle.other.svc.cluster.local";
    assert_eq!(registry.alias_end(circle), circle);
    assert_eq!(
        registry.alias_end("web.other.svc.cluster.local"),
        "example.com"
    );
    // Rules for the other name are told to be in vain; a destination by that name is good.
    let problems: Vec<_> = snapshot
        .problems()
        .iter()
        .map(|p| (p.kind, &*p.field))
        .collect();
    assert_eq!(
        problems,
        [
            ("DestinationRule", "spec.host"),
            ("VirtualService", "spec.hosts[0]")
        ]
    );
}

#[test]
fn the_older_of_two_rules_for_a_host_wins_and_the_younger_is_reported() {
    let rule = |name: &str, created: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: {name}, namespace: default, creationTimestamp: {created:?}}}\n\
             spec: {{hosts: [a], http: [{{route: [{{destination: {{host: a}}}}]}}]}}\n---\n"
        )
    };
    let text = format!(
        "{SERVICE}{}{}",
        rule("young", "2026-02-01T00:00:00Z"),
        rule("old", "2026-01-01T00:00:00Z")
    );
    let problems = snapshot(&text).problems().to_vec();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].name, "young");
    assert!(problems[0].message.contains("default/old"));
}

#[test]
fn a_route_to_a_subset_without_pods_is_reported() {
    let rules = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
        metadata: {name: a, namespace: default}\n\
        spec: {host: a, subsets: [{name: v1, labels: {v: '1'}}, {name: v2, labels: {v: '2'}}]}\n\
        ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: a, namespace: default}\n\
        spec: {hosts: [a], http: [{route: [{destination: {host: a, subset: v1}, weight: 50},\
        {destination: {host: a, subset: v2}, weight: 50}]}]}\n---\n";
    let text = format!("{SERVICE}{rules}");
    // Before the first pod runs nothing can be said.
    assert_eq!(snapshot(&text).problems(), []);
    let pod = pod("a-1", "10.244.0.5", "v: '1'");
    let problems = snapshot(&format!("{text}{}{pod}", slice("10.244.0.5")))
        .problems()
        .to_vec();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(
        problems[0].field,
        "spec.http[0].route[1].destination.subset"
    );
    assert!(problems[0].message.contains("selects no pod"));
}

const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\n\
    metadata: {name: g, namespace: shop}\nspec:\n  selector: {istio: edge}\n  servers:\n  \
    - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: MODE, credentialName: cert}}\n---\n";

fn field_problems(text: &str) -> Vec<(String, String)> {
    let told = snapshot(text).problems().to_vec();
    told.into_iter()
        .map(|told| (told.field, told.message))
        .collect()
}

#[test]
fn a_gateway_without_pods_is_reported() {
    let gateway = GATEWAY.replace("MODE", "SIMPLE");
    // Before the first pod runs nothing can be said.
    assert_eq!(field_problems(&gateway), []);
    let other = pod("a-1", "10.244.0.5", "istio: other");
    let problems = field_problems(&format!("{gateway}{other}"));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].0, "spec.selector");
    assert!(problems[0].1.contains("istio=edge"), "{problems:#?}");
}

#[test]
fn a_problem_is_new_once() {
    let pod = pod("a-1", "10.244.0.5", "istio: other");
    let gateway = GATEWAY.replace("MODE", "SIMPLE");
    let (good, bad) = (snapshot(&pod), snapshot(&format!("{gateway}{pod}")));
    let again = snapshot(&format!("{gateway}{pod}{SERVICE}"));
    assert_eq!(bad.new_problems(None).count(), 1);
    assert_eq!(bad.new_problems(Some(&good)).count(), 1);
    assert_eq!(again.new_problems(Some(&bad)).count(), 0);
    assert_eq!(good.new_problems(Some(&again)).count(), 0);
}

#[test]
fn a_secret_counts_in_the_namespace_of_the_gateways_pods_alone() {
    let secret = |namespace: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: {namespace}}}\n\
             type: kubernetes.io/tls\nstringData: {{{data}}}\n---\n"
        )
    };
    let told = |mode: &str, secret: String| {
        let edge = pod("edge-1", "10.244.0.5", "istio: edge");
        field_problems(&format!("{}{edge}{secret}", GATEWAY.replace("MODE", mode)))
    };
    // The Gateway's own namespace, but its pod is in `default`.
    let elsewhere = told("SIMPLE", secret("shop", "tls.crt: x, tls.key: y"));
    assert_eq!(elsewhere.len(), 1, "{elsewhere:#?}");
    assert_eq!(elsewhere[0].0, "spec.servers[0].tls.credentialName");
    assert!(
        elsewhere[0]
            .1
            .contains("does not exist in namespace default")
    );
    let broken = told("SIMPLE", secret("default", "tls.crt: x, tls.key: y"));
    assert_eq!(broken.len(), 1, "{broken:#?}");
    assert_eq!(broken[0].0, "data");
    // A server that asks for clients' certificates says so too when it cannot check them.
    let without_ca = told("MUTUAL", secret("default", "tls.crt: x, tls.key: y"));
    assert!(
        without_ca
            .iter()
            .any(|(_, text)| text.contains("cert-cacert")),
        "{without_ca:#?}"
    );
    let with_ca = told(
        "MUTUAL",
        secret("default", "tls.crt: x, tls.key: y, ca.crt: z"),
    );
    assert!(
        !with_ca.iter().any(|(_, text)| text.contains("cert-cacert")),
        "{with_ca:#?}"
    );
}

#[test]
fn private_services_are_seen_in_their_own_namespace_only() {
    let text = "apiVersion: v1\nkind: Service\n\
        metadata: {name: a, namespace: prod, annotations: {networking.istio.io/exportTo: '.'}}\n\
        spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}\n";
    let snapshot = snapshot(text);
    let names = |namespace: &str| -> Vec<String> {
        let proxy = Proxy {
            namespace: namespace.to_owned(),
            ..proxy("10.244.0.9")
        };
        let clusters = resources(&snapshot, &proxy, CLUSTER, &Names::All);
        clusters
            .iter()
            .map(|cluster| cluster.name().to_string())
            .collect()
    };
    let name = "outbound|80||a.prod.svc.cluster.local".to_owned();
    assert!(names("prod").contains(&name));
    assert!(!names("default").contains(&name));
}

#[test]
fn equal_proxies_get_the_very_same_bytes() {
    let snapshot = snapshot(&format!("{SERVICE}{}", slice("10.244.0.5")));
    for type_url in [CLUSTER, ENDPOINT] {
        let one = resources(&snapshot, &proxy("10.244.0.8"), type_url, &Names::All);
        let two = resources(&snapshot, &proxy("10.244.0.9"), type_url, &Names::All);
        assert!(!one.is_empty());
        assert_eq!(one, two);
        assert!(one.iter().zip(&two).all(|(one, two)| same_memory(one, two)));
    }
}

fn same_memory(one: &EncodedResource, two: &EncodedResource) -> bool {
    one.delta().as_ptr() == two.delta().as_ptr()
}

/// Resources of a type after a change of the mesh from `before` to `after`: those that were made anew,
/// by name. All must be as if there had been nothing before.
fn made_anew(before: &str, after: &str, type_url: &str) -> Vec<String> {
    let (before, fresh) = (snapshot(before), snapshot(after));
    let proxy = proxy("10.244.0.9");
    let known = resources(&before, &proxy, type_url, &Names::All);
    let (snapshot, _) = Snapshot::build_after(fresh.inputs().clone(), &before);
    let now = resources(&snapshot, &proxy, type_url, &Names::All);
    assert_eq!(now, resources(&fresh, &proxy, type_url, &Names::All));
    let new = now
        .iter()
        .filter(|one| !known.iter().any(|known| same_memory(one, known)));
    new.map(|one| one.name().to_string()).collect()
}

#[test]
fn what_nobody_used_since_the_last_change_is_not_kept() {
    let proxy = proxy("10.244.0.9");
    let clusters = |snapshot: &Snapshot| resources(snapshot, &proxy, CLUSTER, &Names::All);
    let next = |before: &Snapshot| Snapshot::build_after(before.inputs().clone(), before).0;
    let first = snapshot(SERVICE);
    let known = clusters(&first);
    let second = next(&first);
    assert!(same_memory(&known[0], &clusters(&second)[0]));
    let unused = next(&second);
    let fourth = next(&unused);
    assert!(!same_memory(&known[0], &clusters(&fourth)[0]));
}

#[test]
fn what_a_change_does_not_touch_is_not_made_again() {
    let second = SERVICE.replace("name: a,", "name: b,");
    let mesh = |ip: &str| format!("{SERVICE}{}{second}", slice(ip));
    let (one, two) = (mesh("10.244.0.5"), mesh("10.244.0.6"));
    for type_url in [CLUSTER, ENDPOINT, ROUTE] {
        assert_eq!(made_anew(&one, &one, type_url), Vec::<String>::new());
    }
    let a = "outbound|80||a.default.svc.cluster.local";
    assert_eq!(made_anew(&one, &two, ENDPOINT), [a]);
    for type_url in [CLUSTER, ROUTE] {
        assert_eq!(made_anew(&one, &two, type_url), Vec::<String>::new());
    }
    let own = made_anew(&one, &two, LISTENER);
    assert_eq!(own, ["virtualInbound"], "of each proxy its own");
    let more = two.replace("port: 80}", "port: 81}");
    assert!(
        made_anew(&one, &more, ENDPOINT).len() >= 2,
        "configuration changes everything"
    );
}

#[test]
fn a_pods_own_settings_win_over_the_meshs() {
    let snapshot = snapshot(&format!("{SERVICE}{}", slice("10.244.0.5")));
    let sampled = |own: Option<&str>| {
        let own = own.map(|text| (OWN_CONFIG.to_owned(), text.to_owned()));
        let proxy = Proxy {
            metadata: own.into_iter().collect(),
            ..proxy("10.244.0.9")
        };
        let listeners = resources(&snapshot, &proxy, LISTENER, &Names::All);
        let body = listeners
            .iter()
            .map(|one| mesh_xds::json::to_json(&NamedResource::from(one).body));
        let text: String = body.map(|json| json.unwrap().to_string()).collect();
        let shares = text.split("\"random_sampling\":{\"value\":").skip(1);
        let shares: Vec<String> = shares
            .map(|rest| rest.split('}').next().unwrap().to_owned())
            .collect();
        assert!(!shares.is_empty(), "{text}");
        assert!(shares.iter().all(|share| *share == shares[0]), "{shares:?}");
        shares[0].parse::<f64>().unwrap()
    };
    assert_eq!(sampled(None), 1.0);
    assert_eq!(sampled(Some("tracing: {sampling: 50}")), 50.0);
    // Its neighbour without an annotation gets nothing of it.
    assert_eq!(sampled(None), 1.0);
    assert_eq!(sampled(Some("tracing: {sampling: x}")), 1.0);
}

#[test]
fn a_secret_that_an_edit_broke_is_served_as_it_was() {
    let pem = |_| rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let [first, second] = [(); 2].map(pem);
    let secret = |key: String| {
        let data = serde_json::json!({"tls.crt": first.cert.pem(), "tls.key": key});
        let meta = serde_json::json!({"name": "a", "namespace": "default"});
        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data})
    };
    let good = secret(first.signing_key.serialize_pem()).to_string();
    let broken = secret(second.signing_key.serialize_pem()).to_string();
    let key = ("default".to_owned(), "a".to_owned());

    let before = snapshot(&good);
    let (after, change) = Snapshot::build_after(snapshot(&broken).inputs().clone(), &before);
    assert!(Arc::ptr_eq(&after.secrets[&key], &before.secrets[&key]));
    assert!(change.is_empty(), "{change:?}");
    // However many snapshots later.
    let (later, _) = Snapshot::build_after(after.inputs().clone(), &after);
    assert!(Arc::ptr_eq(&later.secrets[&key], &before.secrets[&key]));
    let (gone, _) = Snapshot::build_after(snapshot("").inputs().clone(), &later);
    assert!(gone.secrets.is_empty());
}
