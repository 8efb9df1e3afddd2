//! A packet capture of the network namespace that it runs in, its loopback left out.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;

/// How long one read waits: bounds by how much the capture overruns its time.
const READ_WAIT: TimeVal = TimeVal::new(0, 100_000);

#[derive(Args)]
pub(crate) struct Options {
    /// How long to record.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// Writes every packet to standard output: one frame per line, in hexadecimal.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let packets = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("open a packet socket (it takes CAP_NET_RAW)")?;
    setsockopt(&packets, ReceiveTimeout, &READ_WAIT)?;
    let loopback = usize::try_from(if_nametoindex("lo")?)?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut frame = vec![0; 65_536];
    let mut out = std::io::stdout().lock();
    writeln!(std::io::stderr(), "capturing")?;
    while Instant::now() < until {
        match recvfrom::<LinkAddr>(packets.as_raw_fd(), &mut frame) {
            Ok((_, Some(from))) if from.ifindex() == loopback => {}
            Ok((length, _)) => {
                let line: String = frame[..length].iter().map(|b| format!("{b:02x}")).collect();
                writeln!(out, "{line}")?;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("read a packet"),
        }
    }
    Ok(())
}
