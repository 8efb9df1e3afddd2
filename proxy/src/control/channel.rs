//! gRPC connections to the control plane: TLS checked against the root certificate file,
//! plaintext only towards port 15010.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_identity::tls::web::{self, Names, ServerTrust, Versions};
use mesh_identity::tls::{self, TlsError};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::bootstrap::{Bootstrap, ControlAddress};

/// Time limit for TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 pings find a dead control plane that left the connection open.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Socket mark that the capture rules exempt.
const SOCKET_MARK: u32 = 1337;
/// One response may hold the configuration of a whole large mesh.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The root certificates cannot be read.
    #[error("read root certificates of the control plane from {path}")]
    RootCert {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The service-account token cannot be read.
    #[error("read service-account token from {path}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The token file holds something that is no token.
    #[error("service-account token in {path} has characters that a token cannot have")]
    BadToken {
        /// Which file.
        path: PathBuf,
    },
    /// The address is no host name.
    #[error("control plane address {address} is not valid")]
    Address {
        /// As configured.
        address: ControlAddress,
    },
    /// The roots are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection failed.
    #[error("connect to {address}")]
    Connect {
        /// Where to.
        address: ControlAddress,
        /// What happened.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Connects to the control plane or the authority. Reads the root certificates each time, so
/// that a changed file is followed.
///
/// # Errors
/// [`ChannelError`] that says which step failed.
pub async fn connect(
    bootstrap: &Bootstrap,
    address: &ControlAddress,
) -> Result<Channel, ChannelError> {
    let bad = || ChannelError::Address {
        address: address.clone(),
    };
    let host = &address.host;
    let authority = if host.contains(':') {
        format!("[{host}]:{}", address.port)
    } else {
        address.to_string()
    };
    // The scheme stays http: our connector, not tonic, speaks TLS.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| bad())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true);
    let tls = if address.uses_tls() {
        Some(tls(bootstrap, address)?)
    } else {
        None
    };
    let (host, port) = (Arc::<str>::from(host.as_str()), address.port);
    let connector = tower::service_fn(move |_: Uri| {
        let (host, tls) = (Arc::clone(&host), tls.clone());
        async move { open(&host, port, tls).await }
    });
    Box::pin(endpoint.connect_with_connector(connector))
        .await
        .map_err(|source| ChannelError::Connect {
            address: address.clone(),
            source,
        })
}

type Tls = (TlsConnector, ServerName<'static>);

fn tls(bootstrap: &Bootstrap, address: &ControlAddress) -> Result<Tls, ChannelError> {
    let path = &bootstrap.root_cert_path;
    let pem = std::fs::read(path).map_err(|source| ChannelError::RootCert {
        path: path.clone(),
        source,
    })?;
    let trust = ServerTrust::Roots {
        pem: pem.into(),
        names: Names::OfHandshake,
    };
    let config = web::client_config(&trust, None, Versions::default(), &[tls::ALPN_H2])?;
    let name = ServerName::try_from(address.host.clone()).map_err(|_| ChannelError::Address {
        address: address.clone(),
    })?;
    Ok((TlsConnector::from(config), name))
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

async fn open(host: &str, port: u16, tls: Option<Tls>) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let stream = dial(host, port).await?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some((connector, name)) => {
            let connected = connector.connect(name, stream).await;
            Box::new(connected.map_err(in_words)?)
        }
    };
    Ok(TokioIo::new(stream))
}

/// A handshake's error with the verifier's own reason, if it is one.
fn in_words(error: io::Error) -> io::Error {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(tls) => io::Error::new(error.kind(), tls::describe(tls)),
        None => error,
    }
}

/// Tries the addresses of `host` in turn.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in tokio::net::lookup_host((host, port)).await? {
        match dial_address(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

async fn dial_address(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match mesh_sys::socket::new_outbound(address, None, Some(SOCKET_MARK)) {
        // Without the capability the capture rules know us by user id.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            mesh_sys::socket::new_outbound(address, None, None)?
        }
        other => other?,
    };
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Adds the bearer token and cluster id. Over plaintext no token is sent: anyone could read it.
///
/// # Errors
/// [`ChannelError::Token`] or [`ChannelError::BadToken`].
pub fn authorize(
    bootstrap: &Bootstrap,
    address: &ControlAddress,
    metadata: &mut MetadataMap,
) -> Result<(), ChannelError> {
    if let Ok(cluster) = bootstrap.node.cluster_id.parse() {
        metadata.insert("clusterid", cluster);
    }
    if !address.uses_tls() {
        return Ok(());
    }
    let path = &bootstrap.token_path;
    let token = std::fs::read_to_string(path).map_err(|source| ChannelError::Token {
        path: path.clone(),
        source,
    })?;
    let value = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|_| ChannelError::BadToken { path: path.clone() })?;
    metadata.insert("authorization", value);
    Ok(())
}
