//! One simulated proxy.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail};
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_xds::google::protobuf::value::Kind;
use mesh_xds::google::protobuf::{Struct, Value};
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use prost::Message;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::Flavour;
use super::change::Sign;
use super::wire::{Delta, Named, Resource, World};

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// What Envoy asks for at first.
const FIRST: [&str; 2] = [CLUSTER, LISTENER];

/// A simulated proxy.
pub(super) struct Proxy {
    /// Tells it from others.
    pub(super) number: usize,
    /// Where the control plane serves xDS in plaintext.
    pub(super) control: SocketAddr,
    /// Which kind of ADS it speaks.
    pub(super) flavour: Flavour,
    /// Services whose endpoints it must get.
    pub(super) services: usize,
    /// By what it notices a change.
    pub(super) sign: Sign,
    /// Where it tells what happens.
    pub(super) events: Sender<Event>,
}

/// What happens to a proxy.
#[derive(Debug)]
pub(super) enum Event {
    /// It has everything.
    Complete { bytes: usize, at: Instant },
    /// A change has come.
    Changed { bytes: usize, at: Instant },
    /// Its stream failed.
    Failed { number: usize, reason: String },
}

/// What came, whatever the kind of ADS.
struct Response {
    type_url: String,
    version: String,
    nonce: String,
    names: Vec<String>,
    bytes: usize,
}

/// What is still missing.
#[derive(Default)]
struct Progress {
    endpoints: usize,
    routes: bool,
    bytes: usize,
    complete: bool,
}

impl Proxy {
    /// Lives until its stream ends.
    pub(super) async fn run(self) {
        let result = match self.flavour {
            Flavour::Delta => Box::pin(self.delta()).await,
            Flavour::Sotw => Box::pin(self.world()).await,
        };
        if let Err(error) = result {
            let failed = Event::Failed {
                number: self.number,
                reason: format!("{error:#}"),
            };
            // The run may be over.
            let _ = self.events.send(failed).await;
        }
    }

    async fn delta(&self) -> anyhow::Result<()> {
        let (requests, outgoing) = mpsc::channel(16);
        for type_url in FIRST {
            let request = DeltaDiscoveryRequest {
                node: Some(self.node()),
                type_url: type_url.to_owned(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await?;
        }
        let outgoing = ReceiverStream::new(outgoing);
        let opening = Box::pin(self.open("DeltaAggregatedResources", outgoing));
        let mut stream: Streaming<Delta> = opening.await?;
        let mut progress = Progress::default();
        while let Some(message) = stream.message().await? {
            let response = delta(message)?;
            let ack = DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(ack).await?;
            if let Some((type_url, names)) = next(&response) {
                let request = DeltaDiscoveryRequest {
                    type_url: type_url.to_owned(),
                    resource_names_subscribe: names,
                    ..DeltaDiscoveryRequest::default()
                };
                requests.send(request).await?;
            }
            self.tell(&mut progress, &response).await?;
        }
        bail!("the control plane ended the stream")
    }

    async fn world(&self) -> anyhow::Result<()> {
        let (requests, outgoing) = mpsc::channel(16);
        for type_url in FIRST {
            let request = DiscoveryRequest {
                node: Some(self.node()),
                type_url: type_url.to_owned(),
                ..DiscoveryRequest::default()
            };
            requests.send(request).await?;
        }
        let outgoing = ReceiverStream::new(outgoing);
        let opening = Box::pin(self.open("StreamAggregatedResources", outgoing));
        let mut stream: Streaming<World> = opening.await?;
        let mut progress = Progress::default();
        let mut asked: [Vec<String>; 2] = Default::default();
        while let Some(message) = stream.message().await? {
            let response = world(message)?;
            let of_type = |type_url: &str| match type_url {
                ENDPOINT => Some(0),
                ROUTE => Some(1),
                _ => None,
            };
            let names = of_type(&response.type_url).map(|at| asked[at].clone());
            let ack = DiscoveryRequest {
                type_url: response.type_url.clone(),
                version_info: response.version.clone(),
                response_nonce: response.nonce.clone(),
                resource_names: names.unwrap_or_default(),
                ..DiscoveryRequest::default()
            };
            requests.send(ack).await?;
            if let Some((type_url, names)) = next(&response)
                && let Some(at) = of_type(type_url)
                && asked[at] != names
            {
                asked[at].clone_from(&names);
                let request = DiscoveryRequest {
                    type_url: type_url.to_owned(),
                    resource_names: names,
                    ..DiscoveryRequest::default()
                };
                requests.send(request).await?;
            }
            self.tell(&mut progress, &response).await?;
        }
        bail!("the control plane ended the stream")
    }

    async fn open<Q, A>(
        &self,
        method: &str,
        outgoing: ReceiverStream<Q>,
    ) -> anyhow::Result<Streaming<A>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let channel: Channel = Endpoint::from_shared(format!("http://{}", self.control))?
            .http2_adaptive_window(true)
            .connect()
            .await
            .context("connect")?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await.context("connect")?;
        let path: PathAndQuery = format!("{SERVICE}/{method}").parse()?;
        let codec = ProstCodec::default();
        let answer = grpc.streaming(Request::new(outgoing), path, codec).await?;
        Ok(answer.into_inner())
    }

    async fn tell(&self, progress: &mut Progress, response: &Response) -> anyhow::Result<()> {
        let at = Instant::now();
        let bytes = response.bytes;
        progress.bytes += bytes;
        let of = response.type_url.as_str();
        if !progress.complete {
            progress.endpoints += if of == ENDPOINT {
                response.names.len()
            } else {
                0
            };
            progress.routes |= of == ROUTE;
            if progress.routes && progress.endpoints >= self.services {
                progress.complete = true;
                let bytes = progress.bytes;
                self.events.send(Event::Complete { bytes, at }).await?;
            }
        } else if of == self.sign.type_url && self.names(response) {
            self.events.send(Event::Changed { bytes, at }).await?;
        }
        Ok(())
    }

    fn names(&self, response: &Response) -> bool {
        let name = self.sign.name.as_ref();
        name.is_none_or(|name| response.names.contains(name))
    }

    fn node(&self) -> Node {
        let (high, low) = (self.number >> 8, self.number & 255);
        let address = format!("10.200.{high}.{low}");
        let name = format!("swarm-{}", self.number);
        let text = |text: &str| Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let fields = [
            ("NAME", text(&name)),
            ("NAMESPACE", text("mass")),
            ("CLUSTER_ID", text("Kubernetes")),
            ("INSTANCE_IPS", text(&address)),
        ];
        Node {
            id: format!("sidecar~{address}~{name}.mass~mass.svc.cluster.local"),
            cluster: "swarm.mass".to_owned(),
            metadata: Some(Struct {
                fields: fields.map(|(key, value)| (key.to_owned(), value)).into(),
            }),
            ..Node::default()
        }
    }
}

/// What clusters and listeners refer to: their endpoints, their routes.
fn next(response: &Response) -> Option<(&'static str, Vec<String>)> {
    match response.type_url.as_str() {
        CLUSTER => {
            let names = response.names.iter();
            let names = names.filter(|name| name.starts_with("outbound|"));
            Some((ENDPOINT, names.cloned().collect()))
        }
        LISTENER => {
            let names = response.names.iter();
            let names = names.filter_map(|name| name.strip_prefix("0.0.0.0_"));
            Some((ROUTE, names.map(str::to_owned).collect()))
        }
        _ => None,
    }
}

fn delta(message: Delta) -> anyhow::Result<Response> {
    let names: Result<Vec<String>, prost::DecodeError> = message
        .resources
        .iter()
        .map(|bytes| Ok(Resource::decode(bytes.as_ref())?.name))
        .collect();
    Ok(Response {
        bytes: message.resources.iter().map(|one| one.len()).sum(),
        names: names.context("read a resource")?,
        type_url: message.type_url,
        version: String::new(),
        nonce: message.nonce,
    })
}

fn world(message: World) -> anyhow::Result<Response> {
    let names: Result<Vec<String>, prost::DecodeError> = message
        .resources
        .iter()
        .map(|packed| Ok(Named::decode(packed.value.as_ref())?.name))
        .collect();
    Ok(Response {
        bytes: message.resources.iter().map(|one| one.value.len()).sum(),
        names: names.context("read a resource")?,
        type_url: message.type_url,
        version: message.version,
        nonce: message.nonce,
    })
}
