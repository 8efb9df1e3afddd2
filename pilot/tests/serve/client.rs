//! Clients of discovery, as proxies are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_xds::any::unpack;
use mesh_xds::client::{DeltaClient, Rejection, SotwClient, Update};
use mesh_xds::envoy::config::cluster::v3::Cluster;
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};
use mesh_xds::type_url::{CLUSTER, ENDPOINT};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Longer than any of these tests should take; a condition that isn't met by then never is.
const DEADLINE: Duration = Duration::from_secs(20);

/// In which header a test client says its identity; stands for a verified certificate.
pub(crate) const IDENTITY: &str = "x-test-identity";

/// Fails the test if it takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"))
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

    /// A client that has subscribed to nothing yet.
    pub(crate) fn machine(&self) -> DeltaClient {
        DeltaClient::new(self.node.clone())
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
    pub(crate) async fn open(
        address: SocketAddr,
        proxy: Proxy,
        machine: DeltaClient,
    ) -> Result<Self, Status> {
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

    /// Asks for clusters; gives the status with which the stream ends instead.
    pub(crate) async fn end(&mut self) -> Status {
        self.subscribe_all(CLUSTER).await;
        soon("a refusal", self.responses.message())
            .await
            .expect_err("is refused")
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
    pub(crate) async fn open(address: SocketAddr, proxy: &Proxy) -> Self {
        let mut client = stub(address).await;
        let (requests, receiver) = mpsc::channel(16);
        let request = Request::new(ReceiverStream::new(receiver));
        let machine = SotwClient::new(proxy.node.clone());
        let responses = soon("a stream", client.stream_aggregated_resources(request)).await;
        let responses = responses.unwrap().into_inner();
        Self {
            machine,
            requests,
            responses,
        }
    }

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
