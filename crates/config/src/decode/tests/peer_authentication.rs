use super::{refuse_each, spec};
use crate::peer_authentication::{EffectiveMtls, MtlsMode, PeerAuthentication};
use crate::{Labels, Object, ObjectMeta, PortNumber};

fn policy(namespace: &str, name: &str, yaml: &str) -> Object<PeerAuthentication> {
    Object {
        meta: ObjectMeta::new(namespace, name),
        spec: spec!(PeerAuthentication, yaml),
    }
}

#[test]
fn workload_beats_namespace_beats_mesh() {
    let port = |number| PortNumber::new(number).unwrap();
    let web: Labels = [("app".to_owned(), "web".to_owned())].into();
    let policies = [
        policy("istio-system", "default", "mtls: {mode: STRICT}"),
        policy("shop", "default", "mtls: {mode: DISABLE}"),
        policy(
            "shop",
            "web",
            "selector: {matchLabels: {app: web}}\nmtls: {mode: UNSET}\nportLevelMtls: {8080: {mode: STRICT}, 9090: {}}",
        ),
    ];
    let of = |namespace: &str, labels: &Labels| {
        EffectiveMtls::compute(&policies, namespace, labels, "istio-system")
    };
    assert_eq!(of("other", &web).of(port(1)), MtlsMode::Strict);
    assert_eq!(of("shop", &Labels::new()).of(port(8080)), MtlsMode::Disable);
    let effective = of("shop", &web);
    assert_eq!(effective.of(port(8080)), MtlsMode::Strict);
    assert_eq!(
        (effective.of(port(9090)), effective.mode),
        (MtlsMode::Disable, MtlsMode::Disable)
    );
    let none = EffectiveMtls::compute([], "shop", &web, "istio-system");
    assert_eq!(none.mode, MtlsMode::Permissive);
}

#[test]
fn the_oldest_of_a_scope_wins() {
    let mut young = policy("shop", "a", "mtls: {mode: STRICT}");
    young.meta.creation_timestamp = Some("2026-02-01T00:00:00Z".into());
    let mut old = policy("shop", "b", "mtls: {mode: DISABLE}");
    old.meta.creation_timestamp = Some("2026-01-01T00:00:00Z".into());
    let effective = EffectiveMtls::compute(&[young, old], "shop", &Labels::new(), "istio-system");
    assert_eq!(effective.mode, MtlsMode::Disable);
}

const WHAT_IS_REFUSED: &[(&str, &str)] = &[
    (
        "mtls: {mode: STRIKT}",
        "spec.mtls.mode: \"STRIKT\" is not a value of this field; did you mean STRICT?",
    ),
    (
        "portLevelMtls: {80: {mode: STRICT}}",
        "spec.portLevelMtls: needs a selector; ports are those of workloads: add selector.matchLabels",
    ),
    (
        "selector: {matchLabels: {a: b}}\nportLevelMtls: {http: {mode: STRICT}}",
        "spec.portLevelMtls[http]: \"http\" is not a port; use a number from 1 to 65535 as the key",
    ),
    (
        "mtls: STRICT",
        "spec.mtls: expected an object, found the text \"STRICT\"",
    ),
];

#[test]
fn what_is_refused() {
    refuse_each("PeerAuthentication", WHAT_IS_REFUSED);
}
