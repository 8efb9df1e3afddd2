use serde_json::{Value, json};

use super::rewrite;
use crate::sidecar::Placement;

const PLAIN: Placement = Placement::Container { hold: false };

/// A pod whose init container keeps running, with a startup probe and a hook, as its container.
fn pod() -> Value {
    let container = |name: &str| {
        json!({
            "name": name,
            "startupProbe": {"tcpSocket": {"port": 80}},
            "lifecycle": {"postStart": {"httpGet": {"path": "/warm", "port": 80}}},
        })
    };
    let mut cache = container("cache");
    cache["restartPolicy"] = "Always".into();
    json!({"spec": {"initContainers": [cache], "containers": [container("web")]}})
}

#[test]
fn init_containers_are_probed_through_a_native_proxy_only() {
    let (mut plain, mut native) = (pod(), pod());
    let originals = rewrite(&mut plain, PLAIN, 15020).unwrap();
    assert_eq!(
        plain["spec"]["initContainers"],
        pod()["spec"]["initContainers"]
    );
    let paths = ["/app-health/web/startupz", "/app-lifecycle/web/poststartz"];
    assert!(originals.keys().eq(paths), "{originals:?}");

    let originals = rewrite(&mut native, Placement::Native, 15020).unwrap();
    assert_eq!(originals.len(), 4);
    let probe = &native["spec"]["initContainers"][0]["startupProbe"];
    assert_eq!(probe["httpGet"]["path"], "/app-health/cache/startupz");
}

#[test]
fn a_probe_that_names_a_host_goes_there_and_not_to_the_proxy() {
    let probes = |host: &str| {
        json!({"spec": {"containers": [{
            "name": "web",
            "readinessProbe": {"httpGet": {"host": host, "path": "/", "port": 80}},
            "livenessProbe": {"tcpSocket": {"host": host, "port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"host": host, "path": "/", "port": "web"}}},
        }]}})
    };
    let mut elsewhere = probes("db.example.com");
    assert!(rewrite(&mut elsewhere, PLAIN, 15020).unwrap().is_empty());
    assert_eq!(elsewhere, probes("db.example.com"));
    let mut own = probes("");
    own["spec"]["containers"][0]["lifecycle"] = Value::Null;
    assert_eq!(rewrite(&mut own, PLAIN, 15020).unwrap().len(), 2);
}
