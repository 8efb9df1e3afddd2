//! Sends a table to the kernel in one transaction.

use std::io;

use netlink_packet_core::{ErrorBuffer, ErrorMessage, NLMSG_ERROR, NetlinkBuffer, Parseable};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{SndBuf, SndBufForce};

use super::encode::{Answer, Batch};
use super::{Family, Table};

/// Why the kernel did not take a table.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// One statement was refused; nothing was changed.
    #[error("nftables refused {what}: {source}{}", hint(.source))]
    Refused {
        /// The table, chain or rule, as `nft` would write it.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The netlink socket failed.
    #[error("nftables: {what}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Replaces the table of the same family and name by `table`, in the calling thread's network namespace.
///
/// One transaction: either all of it is in force afterwards or nothing has changed.
///
/// # Errors
/// [`ApplyError::Refused`] names the failing statement.
pub fn apply(table: &Table) -> Result<(), ApplyError> {
    let mut batch = Batch::new();
    batch.remove_table(table.family, &table.name, Answer::OnError);
    batch.add_table(table);
    // Says nothing new; carries the acknowledgement.
    batch.new_table(table.family, &table.name, Answer::Always);
    let (bytes, statements) = batch.finish();
    transact(&bytes, &statements)
}

/// Removes a table if it is there.
///
/// # Errors
/// As [`apply`].
pub fn delete(family: Family, name: &str) -> Result<(), ApplyError> {
    let mut batch = Batch::new();
    batch.remove_table(family, name, Answer::Always);
    let (bytes, statements) = batch.finish();
    transact(&bytes, &statements)
}

/// A socket to nf_tables that cannot block: the kernel answers within `send`.
pub(super) fn open() -> Result<Socket, ApplyError> {
    let socket = Socket::new(NETLINK_NETFILTER).map_err(failed("open the netlink socket"))?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .map_err(failed("open the netlink socket"))?;
    socket
        .set_non_blocking(true)
        .map_err(failed("open the netlink socket"))?;
    Ok(socket)
}

pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ApplyError {
    move |source| ApplyError::Socket { what, source }
}

fn transact(bytes: &[u8], statements: &[String]) -> Result<(), ApplyError> {
    let socket = open()?;
    grow_send_buffer(&socket, bytes.len());
    socket
        .send(bytes, 0)
        .map_err(|source| match source.raw_os_error() {
            Some(libc::EMSGSIZE) => ApplyError::Socket {
                what: "the rules do not fit into one transaction (raise net.core.wmem_max)",
                source,
            },
            _ => ApplyError::Socket {
                what: "send the rules",
                source,
            },
        })?;
    let mut acknowledged = false;
    loop {
        let reply = match socket.recv_from_full() {
            Ok((reply, _)) => reply,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(failed("receive the answer")(error)),
        };
        acknowledged |= check(&reply, statements)?;
    }
    if acknowledged {
        return Ok(());
    }
    Err(failed("receive the answer")(io::Error::other(
        "the kernel did not acknowledge the transaction",
    )))
}

/// Looks through the messages of one reply; whether it holds the acknowledgement.
fn check(mut reply: &[u8], statements: &[String]) -> Result<bool, ApplyError> {
    let mut acknowledged = false;
    while let Ok(message) = NetlinkBuffer::new_checked(reply) {
        if message.message_type() == NLMSG_ERROR {
            let payload = message.payload();
            let parsed = ErrorBuffer::new_checked(&payload)
                .and_then(|buffer| ErrorMessage::parse(&buffer))
                .map_err(|error| failed("read the answer")(io::Error::other(error)))?;
            match parsed.code {
                None => acknowledged = true,
                Some(_) => {
                    return Err(refused(
                        message.sequence_number(),
                        parsed.to_io(),
                        statements,
                    ));
                }
            }
        }
        let length = (message.length() as usize).next_multiple_of(4);
        reply = reply.get(length..).unwrap_or_default();
    }
    Ok(acknowledged)
}

fn refused(sequence: u32, source: io::Error, statements: &[String]) -> ApplyError {
    let what = usize::try_from(sequence)
        .ok()
        .and_then(|index| statements.get(index));
    ApplyError::Refused {
        what: what.map_or_else(|| "a statement".to_owned(), Clone::clone),
        source,
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => " (needs CAP_NET_ADMIN in this network namespace)",
        Some(libc::ENOENT) => " (a chain it names, or a kernel module such as nft_nat, is missing)",
        Some(libc::EOPNOTSUPP) => " (this kernel lacks the expression or chain type)",
        _ => "",
    }
}

/// Makes room for one message of `length` bytes, as far as we may: beyond `net.core.wmem_max` only root of
/// the host can.
fn grow_send_buffer(socket: &Socket, length: usize) {
    let needed = length.saturating_add(4096);
    if setsockopt(socket, SndBufForce, &needed).is_err() {
        let _ = setsockopt(socket, SndBuf, &needed);
    }
}
