//! A worker on the test's own thread, with listeners that stand in for the redirect.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_identity::{PrivateKey, SpiffeId, WorkloadCertificate};
use mesh_proxy::bootstrap::{Bootstrap, ControlAddress, Node, Role};
use mesh_proxy::listen::Accepted;
use mesh_proxy::metrics::Families;
use mesh_proxy::state::Shared;
use mesh_proxy::worker::Worker;
use mesh_proxy::{inbound, outbound};
use mesh_route::Compiler;
use mesh_telemetry::drain;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, LocalSet};

/// Runs a test on one thread with time limits, so that a hang is a failure.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test)
            .await
            .expect("test took too long");
    });
}

/// A certificate authority for tests.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub(crate) fn certificate(&self, id: &str) -> WorkloadCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id).unwrap())];
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = PrivateKey::from_pkcs8_der(key.serialize_der());
        WorkloadCertificate::from_pem(chain.as_bytes(), &key, self.root.as_bytes()).unwrap()
    }
}

/// The id of a service account in `default`.
pub(crate) fn id_of(account: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{account}")
}

/// One proxy.
pub(crate) struct Rig {
    pub(crate) worker: Rc<Worker>,
    pub(crate) families: Families,
    pub(crate) signal: drain::Signal,
    compiler: Box<RefCell<Compiler>>,
    accepting: RefCell<Vec<AbortHandle>>,
}

impl Rig {
    /// A proxy named after `account`.
    pub(crate) fn new(account: &str) -> Self {
        let (signal, watch) = drain::channel();
        let shared = Shared::new(bootstrap(account), watch);
        let families = Families::register(&shared.registry);
        let worker = Worker::new(0, shared, families.clone());
        Self {
            worker,
            families,
            signal,
            compiler: Box::new(RefCell::new(Compiler::new())),
            accepting: RefCell::default(),
        }
    }

    /// Publishes resources; panics if the engine refuses one.
    pub(crate) fn apply(&self, resources: &[Value]) {
        let mut compiler = self.compiler.borrow_mut();
        let mut by_type: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for resource in resources {
            let any =
                mesh_xds::json::from_json(resource).unwrap_or_else(|error| panic!("{error:?}"));
            let name = resource["name"].as_str().unwrap().to_owned();
            by_type
                .entry(any.type_url.clone())
                .or_default()
                .push((name, "1".to_owned(), any));
        }
        for (type_url, changed) in by_type {
            let applied = compiler.apply(&type_url, &changed, &[]);
            assert_eq!(applied.error(), None);
        }
        let missing = compiler.missing();
        assert!(missing.is_empty(), "missing {missing:?}");
        self.worker.shared.snapshot.publish(compiler.snapshot());
    }

    /// Removes resources of one type.
    pub(crate) fn remove(&self, type_url: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut compiler = self.compiler.borrow_mut();
        compiler.apply(type_url, &[], &names);
        self.worker.shared.snapshot.publish(compiler.snapshot());
    }

    pub(crate) fn certificate(&self, certificate: WorkloadCertificate) {
        self.worker.shared.certs.publish(certificate);
    }

    /// An address whose connections are served as captured ones to `destination`.
    pub(crate) async fn outbound(&self, destination: &str) -> SocketAddr {
        self.capture(destination.parse().unwrap(), true).await
    }

    /// The same for connections to the application.
    pub(crate) async fn inbound(&self, destination: SocketAddr) -> SocketAddr {
        self.capture(destination, false).await
    }

    async fn capture(&self, destination: SocketAddr, out: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let worker = Rc::clone(&self.worker);
        let task = tokio::task::spawn_local(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let accepted = Accepted {
                    stream,
                    peer,
                    local: at,
                    destination,
                };
                let of_task = Rc::clone(&worker);
                worker.spawn(async move {
                    let led = if out {
                        outbound::serve(of_task, accepted).await
                    } else {
                        inbound::serve(of_task, accepted).await
                    };
                    if let Ok(serving) = led {
                        drop(serving.await);
                    }
                });
            }
        });
        self.accepting.borrow_mut().push(task.abort_handle());
        at
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "waiting until {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the proxy and asserts that nothing is left.
    pub(crate) async fn finish(self) {
        self.accepting
            .borrow_mut()
            .drain(..)
            .for_each(|task| task.abort());
        self.worker.pools.close();
        let worker = Rc::clone(&self.worker);
        self.until("no task lives", || worker.live_tasks() == 0)
            .await;
        assert_eq!(self.worker.pools.open_connections(), 0);
        assert_eq!(self.signal.in_flight(), 0);
        assert_eq!(self.worker.panics(), 0);
        let snapshot = self.worker.shared.snapshot.load();
        for cluster in snapshot.clusters() {
            let figures = self.families.stats().cluster(&cluster.name);
            assert_eq!(
                (figures.cx_active, figures.rq_active),
                (0, 0),
                "{}",
                cluster.name
            );
        }
        for listener in snapshot.listeners() {
            let figures = self.families.stats().listener(&listener.name);
            assert_eq!(
                (figures.cx_active, figures.rq_active),
                (0, 0),
                "{}",
                listener.name
            );
        }
    }

    /// The figures of `outbound|80||NAME.test`.
    pub(crate) fn cluster(&self, name: &str) -> mesh_proxy::metrics::stats::ClusterFigures {
        self.families
            .stats()
            .cluster(&format!("outbound|80||{name}.test"))
    }

    /// Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        self.worker.shared.registry.render()
    }

    /// Lines of a metric that bear all of `labels`.
    pub(crate) fn lines(&self, metric: &str, labels: &[&str]) -> Vec<String> {
        let text = self.metrics();
        let of_metric = text
            .lines()
            .filter(|line| line.starts_with(&format!("{metric}{{")));
        of_metric
            .filter(|line| labels.iter().all(|l| line.contains(l)))
            .map(str::to_owned)
            .collect()
    }
}

fn bootstrap(account: &str) -> Bootstrap {
    let id: SpiffeId = id_of(account).parse().unwrap();
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let control = ControlAddress::new("127.0.0.1", 15010);
    let labels = [("app", account), ("version", "v1")];
    Bootstrap {
        role: Role::Sidecar,
        node: Node {
            id: format!("sidecar~127.0.0.1~{account}-v1-1.default~default.svc.cluster.local"),
            cluster: format!("{account}.default"),
            pod: format!("{account}-v1-1"),
            namespace: "default".to_owned(),
            service_account: account.to_owned(),
            workload: format!("{account}-v1"),
            owner: String::new(),
            cluster_id: "Kubernetes".to_owned(),
            mesh_id: String::new(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            metadata: BTreeMap::new(),
        },
        trust_domain: id.trust_domain(),
        id,
        instance_ip: "127.0.0.1".parse().unwrap(),
        discovery: control.clone(),
        authority: control,
        certificate_ttl: Duration::from_secs(86400),
        token_path: "/nonexistent".into(),
        root_cert_path: "/nonexistent".into(),
        concurrency: 1,
        termination_drain: Duration::from_secs(5),
        drain: Duration::from_millis(50),
        exit_on_zero_connections: false,
        minimum_drain: Duration::from_secs(5),
        admin: loopback,
        status: loopback,
        readiness: loopback,
        metrics: loopback,
        probers: Arc::default(),
        app_metrics: None,
        log_filter: "info".to_owned(),
    }
}

/// A server that answers each connection with `serve`, for as long as the test lasts.
pub(crate) async fn server<F>(serve: impl Fn(TcpStream) -> F + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(stream));
        }
    });
    at
}

/// A server that reads one request head per connection and writes `answer`, then closes.
pub(crate) async fn canned(answer: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// Reads up to the empty line; what came.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Sends `request` as it stands and reads until the proxy closes.
pub(crate) async fn raw(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// One GET with `Connection: close`.
pub(crate) async fn get(at: SocketAddr, path: &str, headers: &str) -> String {
    raw(
        at,
        &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{headers}\r\n"),
    )
    .await
}
