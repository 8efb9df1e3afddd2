//! Sockets with the options a transparent proxy needs.
//!
//! Everything returns sockets in non-blocking mode, ready for tokio.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpSocket;

/// Options of an established TCP connection. Default: `TCP_NODELAY` on, the rest as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpOptions {
    /// Send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Probe idle peers; `None` leaves keep-alive off.
    pub keepalive: Option<Keepalive>,
    /// Give up when sent data stays unacknowledged for so long (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
}

/// TCP keep-alive times (Envoy's `TcpKeepalive`, ztunnel's defaults are 180 s / 180 s / 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection is reset.
    pub probes: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            nodelay: true,
            keepalive: None,
            user_timeout: None,
        }
    }
}

impl TcpOptions {
    /// Sets these options on `socket` (any TCP socket, connected or not).
    ///
    /// # Errors
    /// The first refused `setsockopt`, for instance `EINVAL` for a zero keep-alive time.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(keepalive) = self.keepalive {
            let times = TcpKeepalive::new()
                .with_time(keepalive.time)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.probes);
            socket.set_tcp_keepalive(&times)?;
        }
        if let Some(timeout) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

/// Opens a listening TCP socket that shares its port with other sockets of this process.
///
/// Each worker has its own (`SO_REUSEPORT`): the kernel spreads connections over them. `backlog`:
/// connections, capped by the kernel at `net.core.somaxconn`. An IPv6 address listens for IPv6 only, so
/// that `0.0.0.0:P` and `[::]:P` can be held side by side.
///
/// # Errors
/// As `socket(2)`, `bind(2)`, `listen(2)`; `AddrInUse` when somebody else holds the port.
pub fn listen_reuse_port(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    if addr.ip().is_loopback() {
        do_not_pace(&socket);
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Returns where a redirected connection was going before netfilter rewrote its destination.
///
/// `socket`: an accepted TCP socket (IPv4, IPv6, or IPv4 mapped into IPv6).
///
/// # Errors
/// `NotFound` (`ENOENT`) when the connection was not redirected or netfilter does not track it.
///
/// Source: `SO_ORIGINAL_DST` (netfilter `nf_conntrack_l3proto_ipv4.c`), `IP6T_SO_ORIGINAL_DST`.
pub fn original_destination(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let local = SockRef::from(socket).local_addr()?.as_socket();
    let is_v4 = match local.map(|addr| addr.ip()) {
        Some(IpAddr::V4(_)) => true,
        Some(IpAddr::V6(ip)) => ip.to_ipv4_mapped().is_some(),
        None => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not an IP socket",
            ));
        }
    };
    if is_v4 {
        let raw = getsockopt(socket, sockopt::OriginalDst)?;
        // The kernel's sockaddr_in holds both in network byte order.
        let ip = u32::from_be(raw.sin_addr.s_addr);
        return Ok((
            std::net::Ipv4Addr::from_bits(ip),
            u16::from_be(raw.sin_port),
        )
            .into());
    }
    let raw = getsockopt(socket, sockopt::Ip6tOriginalDst)?;
    let ip = std::net::Ipv6Addr::from(raw.sin6_addr.s6_addr);
    Ok((ip, u16::from_be(raw.sin6_port)).into())
}

/// Marks every packet of `socket` with `mark` (`SO_MARK`), which capture rules match as `meta mark`.
///
/// # Errors
/// `PermissionDenied` without `CAP_NET_ADMIN` (or, since Linux 5.17, `CAP_NET_RAW`) in the user namespace
/// that owns the socket's network namespace.
pub fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    SockRef::from(socket).set_mark(mark)
}

/// Makes a TCP socket for a connection to `to`, not yet connected.
///
/// `from`: source address to bind (port chosen at connect time, so that source ports can be shared by
/// connections to different peers); must be of the same family as `to`. `mark`: as [`set_mark`].
///
/// # Errors
/// `InvalidInput` when the families differ; `AddrNotAvailable` when `from` is not an address of this
/// namespace; `PermissionDenied` when marking is not allowed; `EMFILE` out of descriptors.
pub fn new_outbound(
    to: SocketAddr,
    from: Option<IpAddr>,
    mark: Option<u32>,
) -> io::Result<TcpSocket> {
    if from.is_some_and(|from| from.is_ipv4() != to.is_ipv4()) {
        let message = format!("source {from:?} and destination {to} are of different families");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    if to.ip().is_loopback() || from.is_some_and(|from| from.is_loopback()) {
        do_not_pace(&socket);
    }
    if let Some(from) = from {
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Keeps a connection that will never leave the host from being paced (`TCP_CONGESTION` `reno`, which
/// every kernel has and allows to everyone), or those that a listening socket will accept.
///
/// BBR arms a timer for each segment, which is half of what a bulk transfer costs, and here it has no
/// network to be gentle with. Only for new sockets: what was paced once stays so. Without effect where the
/// kernel refuses, which costs nothing but speed.
pub fn do_not_pace(socket: &impl AsFd) {
    let _refused = setsockopt(socket, sockopt::TcpCongestion, &OsString::from("reno"));
}

/// Defers the choice of the source port from `bind` to `connect` (`IP_BIND_ADDRESS_NO_PORT`), which
/// otherwise limits the proxy to 28,000 connections from 127.0.0.6 in all instead of per peer.
#[allow(unsafe_code)]
fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the whole call, and the pointer and length describe `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Makes closing `socket` send a reset instead of an orderly end (`SO_LINGER` 0), as a proxy must when
/// the far side failed.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Raises the limit of open descriptors to the hard limit and returns it.
///
/// # Errors
/// As `setrlimit(2)`; callers log it and go on with the lower limit.
pub fn raise_nofile() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests;
