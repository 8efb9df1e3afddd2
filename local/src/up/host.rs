//! The inner process's way to the host's network.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_sys::fdpass::{Channel, Message};
use mesh_sys::process::take_inherited;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};

use super::UpError;
use super::wire::{Ask, CHANNEL_VARIABLE, Failure, Reply, Request};

/// Asks the outer process for sockets of the host's network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    shared: Arc<Shared>,
    terminated: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Shared {
    channel: Channel,
    next_id: AtomicU64,
    /// Who waits for which answer; `None` once the outer process is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

type Answer = Result<OwnedFd, Failure>;

/// Takes up the channel that [`Outer::start`](super::Outer::start) left to this process.
///
/// Call it once, early, within a tokio runtime.
///
/// # Errors
/// [`UpError::NotInner`] when this process was started otherwise.
pub fn attach() -> Result<Host, UpError> {
    let number = std::env::var(CHANNEL_VARIABLE)
        .ok()
        .and_then(|number| number.parse().ok());
    let taking = || UpError::io("take up the channel to the outer process");
    let socket = take_inherited(number.ok_or(UpError::NotInner)?).map_err(taking())?;
    let channel = Channel::new(socket).map_err(taking())?;
    let shared = Arc::new(Shared {
        channel,
        next_id: AtomicU64::new(0),
        waiting: Mutex::new(Some(HashMap::new())),
    });
    let (terminate, terminated) = watch::channel(false);
    tokio::spawn(receive_answers(Arc::clone(&shared), terminate));
    Ok(Host { shared, terminated })
}

impl Host {
    /// Listens on an address of the host (a published port).
    ///
    /// # Errors
    /// [`UpError::PortTaken`], [`UpError::PortPrivileged`], [`UpError::OuterGone`], else [`UpError::Io`].
    pub async fn listen(&self, addr: SocketAddr) -> Result<TcpListener, UpError> {
        let socket = self.ask(Ask::Listen(addr)).await?;
        TcpListener::from_std(socket.into()).map_err(UpError::io(format!("listen on {addr}")))
    }

    /// Connects to `host:port` from the host's network; `host` is a name or an address.
    ///
    /// # Errors
    /// [`UpError::Io`] with the cause (refused, timed out, unknown name), [`UpError::OuterGone`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, UpError> {
        let socket = self
            .ask(Ask::Connect {
                host: host.to_owned(),
                port,
            })
            .await?;
        TcpStream::from_std(socket.into()).map_err(UpError::io(format!("connect to {host}:{port}")))
    }

    /// A UDP socket connected to the host's first name server.
    ///
    /// # Errors
    /// [`UpError::Io`] when `/etc/resolv.conf` of the host names none, [`UpError::OuterGone`].
    pub async fn resolver(&self) -> Result<UdpSocket, UpError> {
        let socket = self.ask(Ask::Resolver).await?;
        UdpSocket::from_std(socket.into()).map_err(UpError::io("reach the host's name server"))
    }

    /// Completes when the outer process asks us to end (Ctrl-C, SIGTERM) or is gone.
    pub async fn terminated(&self) {
        // An error means that the receiving task has ended, and with it the outer process.
        let _ = self
            .terminated
            .clone()
            .wait_for(|terminated| *terminated)
            .await;
    }

    async fn ask(&self, ask: Ask) -> Result<OwnedFd, UpError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.shared
            .with_waiting(|waiting| waiting.insert(id, sender))
            .ok_or(UpError::OuterGone)?;
        let bytes = serde_json::to_vec(&Request { id, ask }).map_err(io::Error::other);
        let sent = match bytes {
            Ok(bytes) => self.shared.channel.send(&bytes, &[]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            self.shared.with_waiting(|waiting| waiting.remove(&id));
            let gone = error.kind() == io::ErrorKind::BrokenPipe;
            return Err(if gone {
                UpError::OuterGone
            } else {
                UpError::io("ask the outer process")(error)
            });
        }
        Ok(answer.await.map_err(|_| UpError::OuterGone)??)
    }
}

impl Shared {
    /// `None` once the outer process is gone.
    fn with_waiting<T>(
        &self,
        work: impl FnOnce(&mut HashMap<u64, oneshot::Sender<Answer>>) -> T,
    ) -> Option<T> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(work)
    }

    fn settle(&self, id: u64, answer: Answer) {
        if let Some(Some(waiter)) = self.with_waiting(|waiting| waiting.remove(&id)) {
            // The asker may have given up; the socket is closed then.
            let _ = waiter.send(answer);
        }
    }
}

async fn receive_answers(shared: Arc<Shared>, terminate: watch::Sender<bool>) {
    while let Ok(Some(message)) = shared.channel.receive().await {
        if let Err(error) = take_answer(&shared, message, &terminate) {
            tracing::warn!(%error, "unreadable answer of the outer process");
        }
    }
    // Wakes all who wait, and refuses the next ones.
    shared
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    terminate.send_replace(true);
}

fn take_answer(
    shared: &Shared,
    message: Message,
    terminate: &watch::Sender<bool>,
) -> io::Result<()> {
    match serde_json::from_slice(&message.bytes).map_err(io::Error::other)? {
        Reply::Done { id } => {
            let socket = message.descriptors.into_iter().next();
            let socket = socket
                .ok_or_else(|| Failure::io("receive a socket")(io::ErrorKind::NotFound.into()));
            shared.settle(id, socket);
        }
        Reply::Failed { id, failure } => shared.settle(id, Err(failure)),
        Reply::Terminate => {
            terminate.send_replace(true);
        }
    }
    Ok(())
}
