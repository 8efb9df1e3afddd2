//! Names; the rest is tested against a real API server.

use serde_json::json;

use super::*;

#[test]
fn definitions_are_told_from_those_of_others() {
    let named = |name: &str| ours(&json!({"metadata": {"name": name}}));
    for kind in Kind::ALL {
        assert!(named(&name(kind)).is_some(), "{}", name(kind));
    }
    assert_eq!(
        name(Kind::ServiceEntry),
        "serviceentries.networking.istio.io"
    );
    assert_eq!(
        name(Kind::AuthorizationPolicy),
        "authorizationpolicies.security.istio.io"
    );
    assert_eq!(named("gateways.gateway.networking.k8s.io"), None);
}

#[test]
fn a_missing_definition_says_what_to_do() {
    let problem = absent(Kind::Sidecar, Served::Missing);
    assert_eq!(
        problem.object,
        "CustomResourceDefinition sidecars.networking.istio.io"
    );
    assert!(problem.remedy.contains("meshctl install"), "{problem}");
    assert!(
        absent(Kind::Sidecar, Served::Unusable)
            .problem
            .contains("v1beta1")
    );
}
