//! A directory of manifests, discovery on a loopback port, and clients of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_identity::SpiffeId;
use mesh_pilot::push::Timing;
use mesh_pilot::serve::ProxyStatus;
use mesh_pilot::{Access, Options, Pilot};
use mesh_telemetry::metrics::Registry;
use mesh_xds::any::unpack;
use mesh_xds::client::{DeltaClient, Rejection, SotwClient, Update};
use mesh_xds::envoy::config::cluster::v3::Cluster;
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};
use mesh_xds::type_url::{CLUSTER, ENDPOINT};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status, Streaming};

/// Longer than any of these tests should take; a condition that isn't met by then never is.
const DEADLINE: Duration = Duration::from_secs(20);

/// In which header a test client says its identity; stands for a verified certificate.
const IDENTITY: &str = "x-test-identity";

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"))
}

/// A Service with the HTTP port 9080.
pub(crate) fn service(name: &str) -> String {
    let last = name.bytes().last().unwrap();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  clusterIP: 10.96.1.{last}\n  selector: {{app: {name}}}\n  ports: [{{name: http, port: 9080}}]\n"
    )
}

/// The EndpointSlice of a service.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> String {
    let endpoint =
        |address: &&str| format!("{{addresses: [{address}], conditions: {{ready: true}}}}");
    let endpoints: Vec<String> = addresses.iter().map(endpoint).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: 9080, protocol: TCP}}]\n",
        endpoints.join(", ")
    )
}

/// Everything in an assignment, for searching.
pub(crate) fn text_of(assignment: &ClusterLoadAssignment) -> String {
    format!("{assignment:?}")
}

/// A Gateway of the routers labelled `edge` that shows the credential `shop`, and that secret.
pub(crate) fn gateway_with_secret() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example.com".to_owned()]).unwrap();
    let indent = |pem: String| pem.trim_end().replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shop, namespace: edge}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop, namespace: edge}}\nspec:\n  selector: {{istio: edge}}\n  servers:\n  - port: {{number: 443, name: https, protocol: HTTPS}}\n    hosts: [shop.example.com]\n    tls: {{mode: SIMPLE, credentialName: shop}}\n",
        indent(made.cert.pem()),
        indent(made.signing_key.serialize_pem()),
    )
}

/// Manifests before discovery runs.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let temporary = self.directory.path().join(format!(".{name}.tmp"));
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.directory.path().join(name)).unwrap();
    }

    /// Starts discovery and waits until it answers.
    pub(crate) async fn start(self, access: Access) -> Mesh {
        let registry = Registry::new();
        let pilot = Pilot::start(Options {
            config_dirs: vec![self.directory.path().to_owned()],
            metrics: registry.clone(),
            timing: Timing::default(),
            ..Options::default()
        })
        .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = InterceptedService::new(pilot.ads_service(access), verify);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        let server = tokio::spawn(async { server.await.unwrap() });
        let mesh = Mesh {
            files: self,
            pilot,
            registry,
            address,
            server,
            stop,
        };
        soon(
            "the first snapshot",
            mesh.pilot.watch().wait_for(Option::is_some),
        )
        .await
        .unwrap();
        assert_eq!(mesh.pilot.debug("/ready").unwrap().status, 200);
        mesh
    }
}

#[allow(clippy::result_large_err)] // the signature is tonic's
fn verify(mut request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(text) = request.metadata().get(IDENTITY) {
        let identity: SpiffeId = text.to_str().unwrap().parse().unwrap();
        request.extensions_mut().insert(identity);
    }
    Ok(request)
}

/// Running discovery.
pub(crate) struct Mesh {
    files: Files,
    pilot: Pilot,
    registry: Registry,
    address: SocketAddr,
    server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Mesh {
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.files.write(name, text);
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.files.directory.path().join(name)).unwrap();
    }

    pub(crate) fn metrics(&self) -> String {
        self.registry.render()
    }

    pub(crate) fn page(&self, path: &str) -> String {
        self.pilot.debug(path).unwrap().body
    }

    pub(crate) fn status(&self) -> Vec<ProxyStatus> {
        self.pilot.status()
    }

    /// The status of a pod's proxy once it is so.
    pub(crate) async fn status_when(
        &self,
        pod: &str,
        is_so: impl Fn(&ProxyStatus) -> bool,
    ) -> ProxyStatus {
        let found = async {
            loop {
                let found = self.status().into_iter().find(|status| status.pod == pod);
                if let Some(status) = found.filter(|status| is_so(status)) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("a status", found).await
    }

    pub(crate) async fn connect(&self, proxy: &Proxy) -> Client {
        Client::open(
            self.address,
            proxy.clone(),
            DeltaClient::new(proxy.node.clone()),
        )
        .await
        .unwrap()
    }

    pub(crate) async fn connect_sotw(&self, proxy: &Proxy) -> SotwStream {
        let mut client = stub(self.address).await;
        let (requests, receiver) = mpsc::channel(16);
        let request = Request::new(ReceiverStream::new(receiver));
        let machine = SotwClient::new(proxy.node.clone());
        // The server answers the call once it has a request.
        let responses = soon("a stream", client.stream_aggregated_resources(request)).await;
        SotwStream {
            machine,
            requests,
            responses: responses.unwrap().into_inner(),
        }
    }

    /// Why this proxy is turned away.
    pub(crate) async fn refusal(&self, proxy: &Proxy) -> Status {
        let mut machine = DeltaClient::new(proxy.node.clone());
        machine.subscribe_all(CLUSTER);
        match Client::open(self.address, proxy.clone(), machine).await {
            Err(status) => status,
            Ok(mut client) => soon("a refusal", client.responses.message())
                .await
                .expect_err("is refused"),
        }
    }

    /// Ends everything; nothing may be left.
    pub(crate) async fn stop(self, clients: Vec<Client>) {
        drop(clients);
        let gone = async {
            while !self.status().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("connections to end", gone).await;
        soon("tasks to end", self.pilot.shutdown()).await;
        self.stop.send(()).unwrap();
        soon("the server to end", self.server).await.unwrap();
    }
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Proxy {
    node: Node,
    identity: Option<String>,
}

impl Proxy {
    fn new(kind: &str, pod: &str, namespace: &str) -> Self {
        let id = format!("{kind}~10.244.0.9~{pod}.{namespace}~{namespace}.svc.cluster.local");
        Self {
            node: Node {
                id,
                ..Node::default()
            },
            identity: None,
        }
    }

    pub(crate) fn sidecar(pod: &str, namespace: &str) -> Self {
        Self::new("sidecar", pod, namespace)
    }

    pub(crate) fn router(pod: &str, namespace: &str) -> Self {
        Self::new("router", pod, namespace)
    }

    pub(crate) fn account(self, account: &str) -> Self {
        self.metadata("SERVICE_ACCOUNT", Kind::StringValue(account.to_owned()))
    }

    /// With the one label `istio: NAME`.
    pub(crate) fn labelled(self, name: &str) -> Self {
        let value = Value {
            kind: Some(Kind::StringValue(name.to_owned())),
        };
        let fields = [("istio".to_owned(), value)].into();
        self.metadata("LABELS", Kind::StructValue(Struct { fields }))
    }

    fn metadata(mut self, key: &str, kind: Kind) -> Self {
        let metadata = self.node.metadata.get_or_insert_default();
        let value = Value { kind: Some(kind) };
        metadata.fields.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn identity(mut self, namespace: &str, account: &str) -> Self {
        self.identity = Some(format!(
            "spiffe://cluster.local/ns/{namespace}/sa/{account}"
        ));
        self
    }
}

async fn stub(address: SocketAddr) -> AggregatedDiscoveryServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    AggregatedDiscoveryServiceClient::new(soon("a connection", endpoint.connect()).await.unwrap())
}

/// A delta client that acknowledges what it reads.
pub(crate) struct Client {
    address: SocketAddr,
    proxy: Proxy,
    machine: DeltaClient,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    endpoints: BTreeSet<String>,
}

/// A response as the client understood it.
pub(crate) struct Received {
    pub(crate) update: Update,
}

impl Received {
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.update
            .changed
            .iter()
            .map(|resource| resource.name.as_str())
            .collect()
    }

    /// The one resource of the response.
    pub(crate) fn only<M: prost::Message + prost::Name + Default>(self) -> M {
        assert_eq!(self.update.changed.len(), 1);
        unpack(&self.update.changed[0].body).unwrap()
    }
}

impl Client {
    async fn open(address: SocketAddr, proxy: Proxy, machine: DeltaClient) -> Result<Self, Status> {
        let mut client = stub(address).await;
        let (requests, receiver) = mpsc::channel(16);
        for request in machine.connect() {
            requests.send(request).await.unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(receiver));
        if let Some(identity) = &proxy.identity {
            request
                .metadata_mut()
                .insert(IDENTITY, identity.parse().unwrap());
        }
        let responses = soon("a stream", client.delta_aggregated_resources(request)).await?;
        let endpoints = BTreeSet::new();
        let responses = responses.into_inner();
        Ok(Self {
            address,
            proxy,
            machine,
            requests,
            responses,
            endpoints,
        })
    }

    async fn write(&self, mut request: DeltaDiscoveryRequest) {
        // The first one must bear the node; later ones may.
        request.node = Some(self.proxy.node.clone());
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn subscribe_all(&mut self, type_url: &str) {
        let request = self.machine.subscribe_all(type_url).unwrap();
        self.write(request).await;
    }

    pub(crate) async fn subscribe(&mut self, type_url: &str, names: &[&str]) {
        let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
        if type_url == ENDPOINT {
            self.endpoints.clone_from(&names);
        }
        let request = self.machine.subscribe(type_url, names).unwrap();
        self.write(request).await;
    }

    pub(crate) async fn next(&mut self) -> Received {
        self.next_refusing(&[]).await
    }

    pub(crate) async fn next_refusing(&mut self, rejected: &[Rejection]) -> Received {
        let response = soon("a response", self.responses.message())
            .await
            .unwrap()
            .unwrap();
        let update = self.machine.receive(response).unwrap();
        let answer = self.machine.finish(&update, rejected);
        self.write(answer).await;
        Received { update }
    }

    /// Asks for something that doesn't exist: the answer must be the next thing that comes.
    pub(crate) async fn expect_nothing(&mut self) {
        self.endpoints.insert("no-such-cluster".to_owned());
        let request = self
            .machine
            .subscribe(ENDPOINT, self.endpoints.clone())
            .unwrap();
        self.write(request).await;
        let answer = self.next().await.update;
        assert_eq!(
            (answer.type_url.as_str(), answer.changed.len()),
            (ENDPOINT, 0),
            "{answer:?}"
        );
        assert_eq!(answer.removed, ["no-such-cluster"]);
    }

    /// Drops the stream and opens another one with what is known.
    pub(crate) async fn reconnect(&mut self) {
        let machine = std::mem::replace(&mut self.machine, DeltaClient::new(Node::default()));
        let endpoints = std::mem::take(&mut self.endpoints);
        let client = Self::open(self.address, self.proxy.clone(), machine)
            .await
            .unwrap();
        *self = client;
        self.endpoints = endpoints;
    }
}

/// A state-of-the-world client of clusters.
pub(crate) struct SotwStream {
    machine: SotwClient,
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl SotwStream {
    pub(crate) async fn subscribe_clusters(&mut self) -> BTreeSet<String> {
        self.machine.subscribe_all(CLUSTER);
        for request in self.machine.connect() {
            self.requests.send(request).await.unwrap();
        }
        self.next_clusters().await
    }

    /// The names in the next response.
    pub(crate) async fn next_clusters(&mut self) -> BTreeSet<String> {
        let response = soon("a response", self.responses.message())
            .await
            .unwrap()
            .unwrap();
        let name = |any| unpack::<Cluster>(any).unwrap().name;
        let names = response.resources.iter().map(name).collect();
        let update = self.machine.receive(response).unwrap();
        self.requests
            .send(self.machine.finish(&update, &[]))
            .await
            .unwrap();
        names
    }
}
