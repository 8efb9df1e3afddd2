//! A control plane for tests: an authority that signs anything, and an ADS server that the
//! test drives by hand. Plaintext on a port of its own.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;

use mesh_xds::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use mesh_xds::google::protobuf::Any;
use mesh_xds::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use mesh_xds::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::bootstrap::{ControlAddress, Transport};

/// One stream of a client: what it sends, and a way to answer.
pub(crate) struct ClientStream {
    pub(crate) requests: mpsc::Receiver<DeltaDiscoveryRequest>,
    pub(crate) responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

impl ClientStream {
    pub(crate) async fn next(&mut self) -> DeltaDiscoveryRequest {
        let request = tokio::time::timeout(super::DEADLINE, self.requests.recv()).await;
        request
            .expect("a request in time")
            .expect("the stream is open")
    }

    pub(crate) async fn send(&self, type_url: &str, nonce: &str, resources: Vec<(&str, Any)>) {
        let resource = |(name, body): (&str, Any)| Resource {
            name: name.to_owned(),
            version: format!("{nonce}-{name}"),
            resource: Some(body),
            ..Resource::default()
        };
        let response = DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce: nonce.to_owned(),
            resources: resources.into_iter().map(resource).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.responses
            .send(Ok(response))
            .await
            .expect("the stream is open");
    }
}

pub(crate) struct ControlPlane {
    pub(crate) address: ControlAddress,
    streams: mpsc::Receiver<ClientStream>,
    server: JoinHandle<()>,
}

impl ControlPlane {
    /// Starts one; certificates live for `life`.
    pub(crate) async fn start(life: std::time::Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, streams) = mpsc::channel(4);
        let services = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(Ads { sender }))
            .add_service(IstioCertificateServiceServer::new(authority(life)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { services.await.unwrap() });
        let address = ControlAddress {
            host: "127.0.0.1".to_owned(),
            port,
            transport: Transport::Plaintext,
        };
        Self {
            address,
            streams,
            server,
        }
    }

    pub(crate) async fn stream(&mut self) -> ClientStream {
        let stream = tokio::time::timeout(super::DEADLINE, self.streams.recv()).await;
        stream.expect("a stream in time").expect("the server runs")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Ads {
    sender: mpsc::Sender<ClientStream>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut incoming = request.into_inner();
        let (request_sender, requests) = mpsc::channel(64);
        let (responses, response_receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(Ok(request)) = incoming.next().await {
                if request_sender.send(request).await.is_err() {
                    return;
                }
            }
        });
        let _ = self
            .sender
            .send(ClientStream {
                requests,
                responses,
            })
            .await;
        Ok(Response::new(Box::pin(ReceiverStream::new(
            response_receiver,
        ))))
    }
}

struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    root: String,
    life: std::time::Duration,
}

fn authority(life: std::time::Duration) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem();
    Authority {
        issuer: Arc::new(Issuer::new(params, key)),
        root,
        life,
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let mut csr = CertificateSigningRequestParams::from_pem(&request.get_ref().csr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let now = std::time::SystemTime::now();
        csr.params.not_before = (now - std::time::Duration::from_secs(1)).into();
        csr.params.not_after = (now + self.life).into();
        let leaf = csr
            .signed_by(&self.issuer)
            .map_err(|error| Status::internal(error.to_string()))?
            .pem();
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: vec![leaf, self.root.clone()],
        }))
    }
}
