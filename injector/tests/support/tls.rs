//! A webhook server on a free port, with a certificate of its own, and a client that trusts it.
#![allow(clippy::unwrap_used, dead_code, reason = "test support")]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mesh_injector::Server;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A running server.
pub(crate) struct Running {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The root of its certificate, in PEM.
    pub(crate) root_pem: String,
    client: TlsConnector,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Serves on a free port of localhost.
    pub(crate) async fn start(server: Server) -> Running {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = key.cert.der().clone();
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(());
        Running {
            address,
            root_pem: key.cert.pem(),
            client: TlsConnector::from(Arc::new(client)),
            stop,
            task: tokio::spawn(server.serve(listener, Arc::new(tls), stopped)),
        }
    }

    /// POST on a connection of its own; status and text.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: String) -> (u16, String) {
        Box::pin(self.request(Method::POST, path, content_type, body)).await
    }

    /// GET on a connection of its own; status and text.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        Box::pin(self.request(Method::GET, path, "", String::new())).await
    }

    /// A connection that has sent nothing but its handshake.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.client.connect(name, stream).await.unwrap()
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
    ) -> (u16, String) {
        let stream = Box::new(Box::pin(self.connect()).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Ends the server in good order.
    pub(crate) async fn stop(self) {
        self.begin_stop().await.unwrap();
    }

    /// Tells the server to end, and returns at once.
    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        self.task
    }
}
