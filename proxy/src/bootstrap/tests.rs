use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::*;

struct Fake {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
}

impl Source for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn variables(&self) -> Vec<(String, String)> {
        self.variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| (*text).to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn processors(&self) -> usize {
        8
    }
}

fn sidecar() -> Fake {
    Fake {
        variables: HashMap::from([
            ("POD_NAME", "reviews-v1-abc"),
            ("POD_NAMESPACE", "default"),
            ("INSTANCE_IP", "10.244.0.7"),
            ("SERVICE_ACCOUNT", "bookinfo-reviews"),
            ("ISTIO_META_WORKLOAD_NAME", "reviews-v1"),
            ("ISTIO_META_INTERCEPTION_MODE", "REDIRECT"),
            ("ISTIO_METAJSON_LIMITS", "{\"cpu\":2}"),
            (
                "PROXY_CONFIG",
                r#"{"discoveryAddress":"istiod.istio-system.svc:15012","concurrency":1,"terminationDrainDuration":"7s","proxyMetadata":{"EXIT_ON_ZERO_ACTIVE_CONNECTIONS":"true"}}"#,
            ),
        ]),
        files: HashMap::from([("/etc/istio/pod/labels", "app=\"reviews\"\nversion=\"v1\"\n")]),
    }
}

/// Settings of a sidecar of Bookinfo's reviews, for other modules' tests.
pub(crate) fn sidecar_bootstrap() -> Bootstrap {
    read(&sidecar()).unwrap()
}

fn read(fake: &Fake) -> Result<Bootstrap, BootstrapError> {
    env::read(Role::Sidecar, fake)
}

#[test]
fn reads_the_sidecar_contract() {
    let bootstrap = read(&sidecar()).unwrap();
    assert_eq!(
        bootstrap.node.id,
        "sidecar~10.244.0.7~reviews-v1-abc.default~default.svc.cluster.local"
    );
    assert_eq!(
        bootstrap.id.as_str(),
        "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    );
    assert_eq!(bootstrap.node.cluster, "reviews.default");
    assert_eq!(
        (
            bootstrap.node.canonical_service(),
            bootstrap.node.canonical_revision()
        ),
        ("reviews", "v1")
    );
    assert_eq!(bootstrap.node.metadata["LABELS"]["version"], "v1");
    assert_eq!(bootstrap.node.metadata["LIMITS"]["cpu"], 2);
    assert_eq!(bootstrap.node.metadata["INTERCEPTION_MODE"], "REDIRECT");
    assert_eq!(bootstrap.authority, bootstrap.discovery);
    assert!(bootstrap.discovery.uses_tls());
    assert_eq!(bootstrap.concurrency, 1);
    assert_eq!(bootstrap.termination_drain, Duration::from_secs(7));
    assert!(
        bootstrap.exit_on_zero_connections,
        "proxyMetadata counts as environment"
    );
    let proto = bootstrap.node.to_proto();
    assert_eq!(
        proto.metadata.unwrap().fields.len(),
        bootstrap.node.metadata.len()
    );
}

#[test]
fn ports_of_readiness_and_metrics_can_be_moved() {
    let mut fake = sidecar();
    let ports = |fake: &Fake| {
        let bootstrap = read(fake).unwrap();
        (bootstrap.readiness.port(), bootstrap.metrics.port())
    };
    assert_eq!(ports(&fake), (READINESS_PORT, METRICS_PORT));
    fake.variables.insert("ENVOY_STATUS_PORT", "25021");
    fake.variables.insert("ENVOY_PROMETHEUS_PORT", "25090");
    assert_eq!(ports(&fake), (25021, 25090));
}

#[test]
fn says_which_variable_is_wrong() {
    let cases: [(&'static str, Option<&'static str>, &str); 9] = [
        (
            "POD_NAME",
            None,
            "POD_NAME is not set; the injector sets it from the field metadata.name",
        ),
        (
            "INSTANCE_IP",
            Some("pod"),
            "INSTANCE_IP=\"pod\" is not valid: write an IP address",
        ),
        ("TRUST_DOMAIN", Some("a/b"), "TRUST_DOMAIN"),
        (
            "CA_ADDR",
            Some("istiod"),
            "CA_ADDR=\"istiod\" is not valid: write HOST:PORT",
        ),
        ("SECRET_TTL", Some("1 day"), "SECRET_TTL"),
        (
            "ENVOY_STATUS_PORT",
            Some("0"),
            "ENVOY_STATUS_PORT=\"0\" is not valid: write a port",
        ),
        ("PROXY_CONFIG", Some("{"), "PROXY_CONFIG"),
        (
            "PROXY_CONFIG",
            Some("{\"concurrency\":-1}"),
            "PROXY_CONFIG.concurrency",
        ),
        (
            "ISTIO_KUBE_APP_PROBERS",
            Some("{\"/a\":{}}"),
            "/a: exactly one of",
        ),
    ];
    for (name, value, part) in cases {
        let mut fake = sidecar();
        match value {
            Some(value) => fake.variables.insert(name, value),
            None => fake.variables.remove(name),
        };
        let error = read(&fake).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn reads_probes_of_every_kind() {
    let mut fake = sidecar();
    fake.variables.insert(
        "ISTIO_KUBE_APP_PROBERS",
        r#"{"/app-health/a/readyz":{"httpGet":{"path":"health","port":9080,"httpHeaders":[{"name":"x","value":"y"}]},"timeoutSeconds":3},
            "/app-health/a/livez":{"tcpSocket":{"port":9080}},
            "/app-health/b/livez":{"grpc":{"port":50051,"service":null},"timeoutSeconds":1}}"#,
    );
    let probers = read(&fake).unwrap().probers;
    let Prober::Http(http) = &probers["/app-health/a/readyz"] else {
        panic!("an HTTP probe")
    };
    assert_eq!(
        (http.path.as_str(), http.port, http.timeout),
        ("/health", 9080, Duration::from_secs(3))
    );
    assert!(
        matches!(&probers["/app-health/a/livez"], Prober::Tcp(tcp) if tcp.timeout == Duration::from_secs(1))
    );
    assert!(
        matches!(&probers["/app-health/b/livez"], Prober::Grpc(grpc) if grpc.service.is_empty())
    );
}

#[test]
fn merges_metrics_only_when_asked_and_never_its_own() {
    let with = |text: &'static str| {
        let mut fake = sidecar();
        fake.variables.insert("ISTIO_PROMETHEUS_ANNOTATIONS", text);
        read(&fake).unwrap().app_metrics
    };
    assert_eq!(
        with(r#"{"scrape":"true","port":"9090","path":"m"}"#),
        Some(AppMetrics {
            port: 9090,
            path: "/m".to_owned()
        })
    );
    assert_eq!(with(r#"{"scrape":"false","port":"9090"}"#), None);
    assert_eq!(with(r#"{"scrape":"true","port":"15020"}"#), None);
}
