use super::*;
use crate::pod::data::Data;
use crate::pod::downward::Machine;
use crate::pod::token::Signer;
use crate::state::StateDir;
use serde_json::json;

struct Fixture {
    dir: tempfile::TempDir,
    pod: Pod,
    data: Data,
    machine: Machine,
    signer: Signer,
}

fn fixture(volumes: serde_json::Value) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let mut data = Data::default();
    let shop = |name: &str| ("shop".to_owned(), name.to_owned());
    data.config_maps.insert(
        shop("settings"),
        [("a.txt".to_owned(), b"one".to_vec())].into(),
    );
    data.secrets
        .insert(shop("tls"), [("key".to_owned(), b"secret".to_vec())].into());
    data.accounts.insert(shop("web"), "sa-uid".to_owned());
    Fixture {
        pod: serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web"}},
            "spec": {"serviceAccountName": "web", "containers": [], "volumes": volumes},
        }))
        .unwrap(),
        data,
        machine: Machine {
            name: "local".to_owned(),
            address: [10, 244, 0, 1].into(),
            cpus: 2,
            memory_bytes: 1 << 30,
        },
        signer: Signer::load_or_create(&state).unwrap(),
        dir,
    }
}

impl Fixture {
    fn update(&self, volumes: &mut Volumes, now: u64) -> Result<(), String> {
        let sources = Sources {
            pod: &self.pod,
            address: None,
            machine: &self.machine,
            data: &self.data,
            signer: &self.signer,
            now,
        };
        volumes.update(&self.pod, &sources)
    }

    fn volumes(&self) -> Volumes {
        Volumes::new(self.dir.path().join("pods/u"))
    }

    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.dir.path().join("pods/u/volumes").join(path))
    }
}

#[test]
fn config_maps_are_followed() {
    let mut fixture = fixture(json!([{"name": "v", "configMap": {"name": "settings"}}]));
    let mut volumes = fixture.volumes();
    fixture.update(&mut volumes, 0).unwrap();
    assert_eq!(fixture.read("v/a.txt").unwrap(), "one");
    let key = ("shop".to_owned(), "settings".to_owned());
    fixture
        .data
        .config_maps
        .insert(key, [("b.txt".to_owned(), b"two".to_vec())].into());
    fixture.update(&mut volumes, 0).unwrap();
    assert_eq!(fixture.read("v/b.txt").unwrap(), "two");
    assert!(fixture.read("v/a.txt").is_err());
    volumes.remove();
    assert!(fixture.read("v/b.txt").is_err());
}

#[test]
fn everything_can_be_projected_together() {
    let fixture = fixture(json!([{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "settings", "items": [{"key": "a.txt", "path": "conf/a"}]}},
        {"secret": {"name": "tls"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 1000}},
    ]}}]));
    let mut volumes = fixture.volumes();
    fixture.update(&mut volumes, 5000).unwrap();
    assert_eq!(fixture.read("v/conf/a").unwrap(), "one");
    assert_eq!(fixture.read("v/key").unwrap(), "secret");
    assert_eq!(fixture.read("v/labels").unwrap(), "app=\"web\"");
    let token = fixture.read("v/token").unwrap();
    assert_eq!(volumes.next_renewal(), Some(5800), "80 % of 1000 s later");
    fixture.update(&mut volumes, 5799).unwrap();
    assert_eq!(fixture.read("v/token").unwrap(), token);
    fixture.update(&mut volumes, 5800).unwrap();
    assert_ne!(fixture.read("v/token").unwrap(), token);
}

#[test]
fn what_is_missing_is_named() {
    let missing = fixture(json!([{"name": "v", "configMap": {"name": "none"}}]));
    let error = missing.update(&mut missing.volumes(), 0).unwrap_err();
    assert_eq!(error, "volume v: ConfigMap none does not exist");
    let optional =
        fixture(json!([{"name": "v", "secret": {"secretName": "none", "optional": true}}]));
    optional.update(&mut optional.volumes(), 0).unwrap();
    let claim = fixture(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]));
    assert!(
        claim
            .update(&mut claim.volumes(), 0)
            .unwrap_err()
            .contains("not supported")
    );
}

#[test]
fn mounts_stay_inside_their_volume() {
    let fixture = fixture(json!([{"name": "v", "emptyDir": {}}, {"name": "w"}]));
    let mut volumes = fixture.volumes();
    fixture.update(&mut volumes, 0).unwrap();
    let mounts = |mount: serde_json::Value| {
        let container: Container =
            serde_json::from_value(json!({"name": "c", "volumeMounts": [mount]})).unwrap();
        volumes.mounts(&container, &|_| false, &|text| {
            text.replace("$(POD)", "web-1")
        })
    };
    let mount = mounts(json!({"name": "v", "mountPath": "/data", "subPathExpr": "logs/$(POD)"}))
        .unwrap()
        .remove(0);
    assert_eq!(mount.path, Path::new("/data"));
    assert!(
        matches!(&mount.source, Source::Host(path) if path.ends_with("v/logs/web-1") && path.is_dir())
    );
    assert!(mounts(json!({"name": "w", "mountPath": "/w"})).is_ok());
    assert!(mounts(json!({"name": "v", "mountPath": "/d", "subPath": "../x"})).is_err());
    assert!(
        mounts(json!({"name": "x", "mountPath": "/d"}))
            .unwrap_err()
            .contains("no volume x")
    );
}
