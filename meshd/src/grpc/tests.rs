use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::server::NamedService;

use super::*;

/// Answers once it is told to; tells when it was asked.
#[derive(Clone)]
struct Slow {
    asked: Arc<watch::Sender<bool>>,
    release: watch::Receiver<bool>,
}

impl NamedService for Slow {
    const NAME: &'static str = "slow";
}

impl tower::Service<Request<Body>> for Slow {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let Slow { asked, mut release } = self.clone();
        Box::pin(async move {
            asked.send_replace(true);
            let _ = release.wait_for(|released| *released).await;
            Ok(Response::new(Body::empty()))
        })
    }
}

/// Configurations of a server and of a client that trusts it.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let certificate = key.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[tokio::test]
async fn a_call_is_answered_after_the_stop_though_a_handshake_is_stalled() {
    let (server_tls, client_tls) = tls();
    let (release, released) = watch::channel(false);
    let (asked, mut was_asked) = watch::channel(false);
    let routes = Routes::new(Slow {
        asked: Arc::new(asked),
        release: released,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(());
    let server = tokio::spawn(serve(listener, Some(server_tls), routes, stopped));

    let mut stalled = TcpStream::connect(address).await.unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client_tls).connect(name, stream);
    let stream = TokioIo::new(Box::new(Box::pin(stream).await.unwrap()));
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = Box::pin(client).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://localhost/slow/call");
    let call = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let call = tokio::spawn(call);
    was_asked.wait_for(|asked| *asked).await.unwrap();

    drop(stop);
    let cut = tokio::time::timeout(Duration::from_secs(4), stalled.read(&mut [0])).await;
    assert_eq!(cut.expect("cut at the stop").unwrap_or_default(), 0);
    assert!(!server.is_finished());

    release.send_replace(true);
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    server.await.unwrap();
}
