use super::*;

fn pod(name: &str, port: u16) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [
            {"name": "app", "ports": [{"name": "web", "containerPort": port}]}]},
    }))
    .unwrap()
}

fn service(extra: Value) -> Service {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    });
    json_patch::merge(&mut value, &extra);
    serde_json::from_value(value).unwrap()
}

fn candidate(pod: &Pod, last: u8, ready: bool, terminating: bool) -> Candidate<'_> {
    Candidate {
        pod,
        address: [10, 244, 0, last].into(),
        ready,
        terminating,
    }
}

#[test]
fn readiness_and_the_end_of_a_pod_take_it_out() {
    let pods = [pod("a", 8080), pod("b", 8080), pod("c", 8080)];
    let all = [
        candidate(&pods[0], 2, true, false),
        candidate(&pods[1], 3, false, false),
        candidate(&pods[2], 4, true, true),
    ];
    let slices = slices(&service(json!({})), all.into_iter());
    assert_eq!(slices.len(), 1);
    assert_eq!(
        (slices[0].ports[0].service_port, slices[0].ports[0].target),
        (80, 8080)
    );
    let state: Vec<_> = slices[0]
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.ready, endpoint.serving))
        .collect();
    assert_eq!(state, [(true, true), (false, false), (false, true)]);
}

#[test]
fn pods_with_other_port_numbers_get_their_own_slice() {
    let pods = [pod("a", 8080), pod("b", 9090)];
    let all = [
        candidate(&pods[0], 2, true, false),
        candidate(&pods[1], 3, true, false),
    ];
    assert_eq!(slices(&service(json!({})), all.into_iter()).len(), 2);
}

#[test]
fn other_labels_and_namespaces_are_not_selected() {
    let pods = [pod("a", 8080)];
    let none = service(json!({"spec": {"selector": {"app": "other"}}}));
    assert!(slices(&none, [candidate(&pods[0], 2, true, false)].into_iter()).is_empty());
    let elsewhere = service(json!({"metadata": {"namespace": "default"}}));
    assert!(
        slices(
            &elsewhere,
            [candidate(&pods[0], 2, true, false)].into_iter()
        )
        .is_empty()
    );
}
