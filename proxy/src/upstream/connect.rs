//! Makes one connection to an endpoint: TCP from the right address with the right mark, then
//! TLS if the endpoint's transport says so. All within the cluster's connect timeout.

use std::net::SocketAddr;
use std::rc::Rc;

use mesh_route::cluster::Keepalive;
use mesh_route::{Cluster, Endpoint, UpstreamTransport};
use mesh_sys::socket::{self, TcpOptions};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, report};
use crate::tls::{ClientStream, ClientTls, accepts_peer};
use crate::worker::Worker;

/// A new connection with what is known about it.
#[derive(Debug)]
pub struct Connected {
    /// The stream.
    pub stream: ClientStream,
    /// Our address on it.
    pub local: SocketAddr,
    /// Verified identity of the peer under mesh mTLS.
    pub principal: Option<Rc<str>>,
    /// What ALPN chose.
    pub alpn: Option<Vec<u8>>,
}

/// The system's own times where the cluster leaves one out (tcp(7)).
const KEEPALIVE_DEFAULT: socket::Keepalive = socket::Keepalive {
    time: std::time::Duration::from_secs(7200),
    interval: std::time::Duration::from_secs(75),
    probes: 9,
};

/// Connects to `endpoint`; `tls` as resolved for its transport.
///
/// `host`: the request's host, for clusters that take the server name from it.
///
/// # Errors
/// [`ConnectError`], each with the endpoint's address.
pub async fn connect(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    host: Option<&str>,
) -> Result<Connected, ConnectError> {
    let after = cluster.connect_timeout;
    let attempt = Box::pin(establish(worker, cluster, endpoint, tls, host));
    match tokio::time::timeout(after, attempt).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(ConnectError::Timeout {
            address: endpoint.address,
            after,
        }),
    }
}

async fn establish(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    host: Option<&str>,
) -> Result<Connected, ConnectError> {
    let address = endpoint.address;
    let tcp = open(worker, cluster, address)
        .await
        .map_err(|source| ConnectError::Tcp { address, source })?;
    let local = tcp
        .local_addr()
        .map_err(|source| ConnectError::Tcp { address, source })?;
    match (&endpoint.transport, tls) {
        (UpstreamTransport::Raw, _) | (_, None) => {
            let stream = ClientStream::Plain(tcp);
            Ok(Connected {
                stream,
                local,
                principal: None,
                alpn: None,
            })
        }
        (UpstreamTransport::Tls(_), Some(tls)) => {
            handshake(worker, tcp, local, address, tls, host).await
        }
    }
}

async fn open(
    worker: &Worker,
    cluster: &Cluster,
    address: SocketAddr,
) -> std::io::Result<TcpStream> {
    let from = cluster
        .bind_source
        .filter(|from| from.is_ipv4() == address.is_ipv4());
    let socket = match socket::new_outbound(address, from, worker.socket_mark()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            // Without the capability capture exempts us by user id instead.
            worker.forbid_socket_mark();
            socket::new_outbound(address, from, None)?
        }
        socket => socket?,
    };
    let options = TcpOptions {
        keepalive: cluster.keepalive.map(keepalive),
        ..TcpOptions::default()
    };
    options.apply(&socket)?;
    socket.connect(address).await
}

fn keepalive(configured: Keepalive) -> socket::Keepalive {
    socket::Keepalive {
        time: configured.idle.unwrap_or(KEEPALIVE_DEFAULT.time),
        interval: configured.interval.unwrap_or(KEEPALIVE_DEFAULT.interval),
        probes: configured.probes.unwrap_or(KEEPALIVE_DEFAULT.probes),
    }
}

async fn handshake(
    worker: &Worker,
    tcp: TcpStream,
    local: SocketAddr,
    address: SocketAddr,
    tls: &ClientTls,
    host: Option<&str>,
) -> Result<Connected, ConnectError> {
    let name = server_name(tls, address, host);
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector
        .connect(name, tcp)
        .await
        .map_err(|error| ConnectError::Tls {
            address,
            reason: tls_reason(&error),
        })?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    accepts_peer(&tls.settings.common, leaf.map(AsRef::as_ref))
        .map_err(|reason| ConnectError::Tls { address, reason })?;
    let principal = session
        .peer_certificates()
        .filter(|_| tls.mesh)
        .and_then(|chain| mesh_identity::peer::identity(chain).ok())
        .map(|id| worker.intern(&id.to_string()));
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    Ok(Connected {
        stream: ClientStream::Tls(Box::new(stream)),
        local,
        principal,
        alpn,
    })
}

/// SNI as configured, else the request's host where the cluster says so, else the address
/// (which rustls does not send).
fn server_name(tls: &ClientTls, address: SocketAddr, host: Option<&str>) -> ServerName<'static> {
    let host = host.filter(|_| tls.host_as_name).map(without_port);
    let named = tls.sni.as_deref().or(host);
    named
        .and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::IpAddress(address.ip().into()))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The identity check's own words if it was that which failed, else what rustls says.
fn tls_reason(error: &std::io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.and_then(mesh_identity::tls::peer_error) {
        Some(peer) => report(peer),
        None => report(error),
    }
}
