//! The sockets of cluster DNS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use super::answer::{Answer, answer, reply};
use super::zone::Zone;
use crate::up::Host;

/// A resolver of the host that takes longer than a client's own patience is of no use.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(4);
/// Queries forwarded at the same time; each costs a socket in two processes.
const FORWARD_AT_ONCE: usize = 64;
/// A TCP client that says nothing for this long is dropped (RFC 7766, section 6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers queries on `address`, port 53, UDP and TCP, until dropped.
///
/// # Errors
/// If a socket cannot be bound.
pub(crate) async fn serve(
    address: Ipv4Addr,
    zone: watch::Receiver<Arc<Zone>>,
    host: Host,
) -> std::io::Result<impl Future<Output = ()>> {
    let udp = Arc::new(UdpSocket::bind((address, 53)).await?);
    let tcp = TcpListener::bind((address, 53)).await?;
    let resolver = Resolver {
        zone,
        host,
        forwards: Arc::new(Semaphore::new(FORWARD_AT_ONCE)),
    };
    Ok(async move {
        tokio::join!(serve_udp(udp, resolver.clone()), serve_tcp(tcp, resolver));
    })
}

#[derive(Clone)]
struct Resolver {
    zone: watch::Receiver<Arc<Zone>>,
    host: Host,
    forwards: Arc<Semaphore>,
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Resolver) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "dns: cannot receive");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let query = buffer[..length].to_vec();
        let (socket, resolver) = (Arc::clone(&socket), resolver.clone());
        tokio::spawn(async move {
            if let Some(answer) = resolver.resolve(&query, Transport::Udp).await {
                send(&socket, &answer, from).await;
            }
        });
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%to, %error, "dns: cannot answer");
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Resolver) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let resolver = resolver.clone();
                tokio::spawn(async move {
                    // A client that went away or sent garbage; its connection is closed.
                    drop(serve_stream(stream, &resolver).await);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "dns: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_stream(mut stream: TcpStream, resolver: &Resolver) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = resolver.resolve(&query, Transport::Tcp).await else {
            return Ok(());
        };
        stream
            .write_u16(u16::try_from(answer.len()).unwrap_or(u16::MAX))
            .await?;
        stream.write_all(&answer).await?;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Resolver {
    /// The answer as bytes; `None` for bytes that are no query.
    async fn resolve(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).ok()?;
        let found = answer(&query, &self.zone.borrow().clone());
        let message = match found {
            Answer::Reply(message) => *message,
            Answer::Alias(message, outside) => self.complete(*message, outside).await,
            Answer::Forward => match self.forward(bytes).await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    tracing::debug!(%error, "dns: the host's resolver did not answer");
                    reply(&query, ResponseCode::ServFail)
                }
            },
        };
        let encoded = message.to_vec().ok()?;
        let limit = usize::from(query.max_payload());
        if transport == Transport::Udp && encoded.len() > limit.max(512) {
            return message.truncate().to_vec().ok();
        }
        Some(encoded)
    }

    /// Adds what the host's resolver says of `outside`; without it the alias alone is the answer.
    async fn complete(&self, mut message: Message, outside: Name) -> Message {
        let kind = message.queries.first().map(Query::query_type);
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(outside, kind.unwrap_or(RecordType::A)));
        let asked = match query.to_vec() {
            Ok(bytes) => self.forward(&bytes).await,
            Err(error) => Err(std::io::Error::other(error)),
        };
        match asked.and_then(|bytes| Message::from_vec(&bytes).map_err(std::io::Error::other)) {
            Ok(answer) => {
                message.metadata.authoritative = false;
                message.metadata.response_code = answer.metadata.response_code;
                message.add_answers(answer.answers);
            }
            Err(error) => {
                tracing::debug!(%error, "dns: the host's resolver did not answer");
                message.metadata.response_code = ResponseCode::ServFail;
            }
        }
        message
    }

    async fn forward(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let asked = async {
            let _permit = self
                .forwards
                .acquire()
                .await
                .map_err(std::io::Error::other)?;
            let socket = self.host.resolver().await.map_err(std::io::Error::other)?;
            socket.send(query).await?;
            let mut buffer = vec![0; 4096];
            loop {
                let length = socket.recv(&mut buffer).await?;
                // Another id is not the answer to this query.
                if length > 2 && buffer[..2] == query[..2] {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
            }
        };
        tokio::time::timeout(FORWARD_TIMEOUT, asked).await?
    }
}
