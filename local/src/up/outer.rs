//! The outer process: starts the inner one and answers its requests.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use mesh_sys::fdpass::{Channel, Message, pair};
use mesh_sys::process::{IsolateError, Isolation, PidFd, inherit, spawn_isolated};
use nix::libc;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::UpError;
use super::forbidden;
use super::wire::{Ask, CHANNEL_VARIABLE, Failure, Reply, Request};

/// Requests served at once; a connection attempt to a silent host can take two minutes.
const MAX_REQUESTS: usize = 512;

/// Connections waiting for the inner process to accept them, per published port.
const BACKLOG: u32 = 1024;

/// How the inner process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InnerExit {
    /// It returned this exit code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// The outer side; dropping it kills the inner process and everything in it.
#[derive(Debug)]
pub struct Outer {
    channel: Arc<Channel>,
    pidfd: PidFd,
    child: Mutex<Child>,
    requests: Arc<Semaphore>,
    /// Keeps the thread that started the inner process: the kernel kills it when that thread ends.
    _thread: mpsc::SyncSender<()>,
}

impl Outer {
    /// Starts ourselves (`/proc/self/exe`) with `arguments` as the inner process, standard streams inherited.
    ///
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// [`UpError::Forbidden`] names the setting that forbids namespaces; [`UpError::Io`] else.
    pub fn start(arguments: &[OsString]) -> Result<Outer, UpError> {
        let starting = || UpError::io("start the inner process");
        let (ours, theirs) = pair().map_err(starting())?;
        let channel = Arc::new(Channel::new(ours).map_err(starting())?);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(arguments)
            .env(CHANNEL_VARIABLE, theirs.as_raw_fd().to_string());
        inherit(&mut command, vec![theirs]);
        let (child, thread) = spawn_on_thread(command).map_err(starting())?;
        let child = child.map_err(forbidden::explain)?;
        let pidfd = PidFd::open(child.id()).map_err(starting())?;
        let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
        Ok(Outer {
            channel,
            pidfd,
            child: Mutex::new(child),
            requests,
            _thread: thread,
        })
    }

    /// Asks the inner process to end: its [`Host::terminated`](super::Host::terminated) completes.
    ///
    /// # Errors
    /// [`UpError::Io`] when it is gone already.
    pub async fn terminate(&self) -> Result<(), UpError> {
        send(&self.channel, &Reply::Terminate, None)
            .await
            .map_err(UpError::io("ask the inner process to end"))
    }

    /// Answers requests until the inner process has ended. Cancel safe.
    ///
    /// # Errors
    /// [`UpError::Io`] when the inner process cannot be waited for.
    pub async fn run(&self) -> Result<InnerExit, UpError> {
        loop {
            tokio::select! {
                biased;
                ended = self.pidfd.ended() => {
                    return ended.and_then(|()| self.reap()).map_err(UpError::io("wait for the inner process"));
                }
                message = self.channel.receive(), if !self.requests.is_closed() => match message {
                    Ok(Some(message)) => self.answer(&message),
                    // Its end is closed: it is ending.
                    Ok(None) | Err(_) => self.requests.close(),
                },
            }
        }
    }

    fn answer(&self, message: &Message) {
        let request: Request = match serde_json::from_slice(&message.bytes) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "unreadable request of the inner process"),
        };
        // Never waits: the loop must see the inner process's end.
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        let channel = Arc::clone(&self.channel);
        tokio::spawn(async move {
            let outcome = match &permit {
                Ok(_) => serve(request.ask).await,
                Err(_) => Err(Failure::io("serve one more connection attempt")(
                    io::ErrorKind::WouldBlock.into(),
                )),
            };
            let (reply, socket) = match outcome {
                Ok(socket) => (Reply::Done { id: request.id }, Some(socket)),
                Err(failure) => (
                    Reply::Failed {
                        id: request.id,
                        failure,
                    },
                    None,
                ),
            };
            if let Err(error) = send(&channel, &reply, socket).await {
                tracing::debug!(%error, "the inner process does not take an answer");
            }
        });
    }

    fn reap(&self) -> io::Result<InnerExit> {
        use std::os::unix::process::ExitStatusExt;
        let status = self
            .child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .wait()?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) if code > 128 => InnerExit::Signal(code - 128),
            (Some(code), _) => InnerExit::Code(code),
            (None, signal) => InnerExit::Signal(signal.unwrap_or(libc::SIGKILL)),
        })
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        // Everything in its pid namespace goes with it; gone already is fine.
        let _ = self.pidfd.signal(libc::SIGKILL);
        let _ = self.reap();
    }
}

type Spawned = Result<Child, IsolateError>;

/// Starts `command` from a thread that lives until the sender is dropped.
fn spawn_on_thread(mut command: Command) -> io::Result<(Spawned, mpsc::SyncSender<()>)> {
    let (keep, kept) = mpsc::sync_channel::<()>(0);
    let (result, spawned) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("inner-parent".to_owned())
        .spawn(move || {
            let mut outcome = spawn_isolated(&mut command, Isolation::for_this_user());
            // Root of a container often lacks CAP_SYS_ADMIN, but may have user namespaces.
            if matches!(&outcome, Err(error) if error.source.raw_os_error() == Some(libc::EPERM)) {
                outcome = outcome.or_else(|first| {
                    if Isolation::for_this_user() == Isolation::AsUser {
                        return Err(first);
                    }
                    spawn_isolated(&mut command, Isolation::AsUser)
                });
            }
            // Our copy of the inner process's channel end must not outlive this.
            drop(command);
            let _ = result.send(outcome);
            let _ = kept.recv();
        })?;
    let outcome = spawned.recv().map_err(io::Error::other)?;
    Ok((outcome, keep))
}

async fn send(channel: &Channel, reply: &Reply, socket: Option<OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(reply).map_err(io::Error::other)?;
    let descriptors: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
    channel.send(&bytes, &descriptors).await
}

async fn serve(ask: Ask) -> Result<OwnedFd, Failure> {
    match ask {
        Ask::Listen(addr) => listen(addr),
        Ask::Connect { host, port } => connect(&host, port).await,
        Ask::Resolver => resolver().await,
    }
}

fn listen(addr: SocketAddr) -> Result<OwnedFd, Failure> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // Restarting must not wait for the last run's connections to leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    match bound().and_then(TcpListener::into_std) {
        Ok(listener) => Ok(listener.into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Failure::PortTaken { addr }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Failure::PortPrivileged {
                addr,
                first_free: first_unprivileged_port(),
            })
        }
        Err(error) => Err(Failure::io(format!("listen on {addr}"))(error)),
    }
}

fn first_unprivileged_port() -> u16 {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    setting
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

async fn connect(host: &str, port: u16) -> Result<OwnedFd, Failure> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.and_then(TcpStream::into_std);
    stream
        .map(OwnedFd::from)
        .map_err(Failure::io(format!("connect to {host}:{port}")))
}

async fn resolver() -> Result<OwnedFd, Failure> {
    let path = "/etc/resolv.conf";
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(Failure::io(format!("read {path}")))?;
    let server = first_name_server(&text).ok_or_else(|| {
        Failure::io(format!("find a name server in {path}"))(io::ErrorKind::NotFound.into())
    })?;
    let local = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let connected = async {
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        socket.into_std()
    };
    connected
        .await
        .map(OwnedFd::from)
        .map_err(Failure::io(format!("reach name server {server}")))
}

/// The first `nameserver` line with an address (an IPv6 zone is left out).
fn first_name_server(resolv_conf: &str) -> Option<SocketAddr> {
    let mut lines = resolv_conf.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        if words.next() != Some("nameserver") {
            return None;
        }
        let ip = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(ip, 53))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_name_server() {
        let text =
            "# nameserver 1.1.1.1\nsearch lan\nnameserver nonsense\nnameserver  127.0.0.53\n";
        assert_eq!(
            first_name_server(text),
            Some("127.0.0.53:53".parse().unwrap())
        );
        assert_eq!(
            first_name_server("nameserver fe80::1%eth0"),
            Some("[fe80::1]:53".parse().unwrap())
        );
        assert_eq!(first_name_server("options edns0"), None);
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_a_remedy() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = first.local_addr().unwrap();
        let failure = listen(addr).unwrap_err();
        assert_eq!(failure, Failure::PortTaken { addr });
        let message = UpError::from(failure).to_string();
        assert!(
            message.contains(&addr.port().to_string()) && message.contains("stop the program"),
            "{message}"
        );
    }
}
