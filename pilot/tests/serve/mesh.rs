//! A directory of manifests, discovery on a loopback port, and clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_identity::SpiffeId;
use mesh_pilot::serve::ProxyStatus;
use mesh_pilot::{Access, Options, Pilot};
use mesh_telemetry::metrics::Registry;
use mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::client::{Client, IDENTITY, Proxy, SotwStream, soon};

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
        let mesh = self.start_with(access, Options::default()).await;
        soon(
            "the first snapshot",
            mesh.pilot.watch().wait_for(Option::is_some),
        )
        .await
        .unwrap();
        mesh
    }

    /// Starts discovery from the files, and with `options`.
    pub(crate) async fn start_with(self, access: Access, options: Options) -> Mesh {
        let registry = Registry::new();
        let pilot = Pilot::start(Options {
            config_dirs: vec![self.directory.path().to_owned()],
            metrics: registry.clone(),
            ..options
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
        Mesh {
            files: self,
            pilot,
            registry,
            address,
            server,
            stop,
        }
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

    pub(crate) fn page_status(&self, path: &str) -> u16 {
        self.pilot.debug(path).unwrap().status
    }

    pub(crate) async fn until_page(&self, path: &str, is_so: impl Fn(&str) -> bool) {
        let found = async {
            while !is_so(&self.page(path)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("a page", found).await;
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
        Client::open(self.address, proxy.clone(), proxy.machine())
            .await
            .unwrap()
    }

    pub(crate) async fn connect_sotw(&self, proxy: &Proxy) -> SotwStream {
        SotwStream::open(self.address, proxy).await
    }

    /// Why this proxy is turned away.
    pub(crate) async fn refusal(&self, proxy: &Proxy) -> Status {
        match Client::open(self.address, proxy.clone(), proxy.machine()).await {
            Err(status) => status,
            Ok(mut client) => client.end().await,
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
