//! The `capture` subcommand: redirects a pod's traffic to the proxy.
//!
//! Runs once, in the pod's init container, with the flags of `istio-iptables` as the injector passes them.
//! The rules go into the kernel by netlink, in one transaction, and are read back; no other program is run.

mod rules;
mod settings;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use mesh_sys::link;
use mesh_sys::nft::{self, ApplyError, ChainSummary, Family, Table};

use self::settings::{Mode, Settings};

/// Flags of `meshproxy capture`, named as those of `istio-iptables`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Port that outbound TCP goes to.
    #[arg(short = 'p', long, default_value = "15001", value_name = "PORT")]
    pub envoy_port: String,
    /// Port that inbound TCP goes to.
    #[arg(short = 'z', long, default_value = "15006", value_name = "PORT")]
    pub inbound_capture_port: String,
    /// Port of the proxy's mTLS tunnel, reached directly.
    #[arg(short = 'e', long, default_value = "15008", value_name = "PORT")]
    pub inbound_tunnel_port: String,
    /// User ids whose traffic is the proxy's own.
    #[arg(short = 'u', long, default_value = "1337", value_name = "UIDS")]
    pub proxy_uid: String,
    /// Group ids whose traffic is the proxy's own. Default: those of --proxy-uid.
    #[arg(short = 'g', long, value_name = "GIDS")]
    pub proxy_gid: Option<String>,
    /// REDIRECT, or NONE to capture nothing.
    #[arg(short = 'm', long, default_value = "REDIRECT", value_name = "MODE")]
    pub istio_inbound_interception_mode: String,
    /// Outbound address ranges to capture, or *; empty for none.
    #[arg(short = 'i', long, default_value = "", value_name = "CIDRS")]
    pub istio_service_cidr: String,
    /// Outbound address ranges not to capture.
    #[arg(short = 'x', long, default_value = "", value_name = "CIDRS")]
    pub istio_service_exclude_cidr: String,
    /// Inbound ports to capture, or *; empty for none.
    #[arg(short = 'b', long, default_value = "", value_name = "PORTS")]
    pub istio_inbound_ports: String,
    /// Inbound ports not to capture (with -b '*').
    #[arg(short = 'd', long, default_value = "", value_name = "PORTS")]
    pub istio_local_exclude_ports: String,
    /// Outbound ports to capture whatever their address, or *.
    #[arg(short = 'q', long, default_value = "", value_name = "PORTS")]
    pub istio_outbound_ports: String,
    /// Outbound ports not to capture.
    #[arg(short = 'o', long, default_value = "", value_name = "PORTS")]
    pub istio_local_outbound_ports_exclude: String,
    /// Interfaces whose inbound traffic (of virtual machines) counts as outbound.
    #[arg(short = 'k', long, default_value = "", value_name = "INTERFACES")]
    pub kube_virt_interfaces: String,
    /// Interfaces whose traffic is not captured.
    #[arg(short = 'c', long, default_value = "", value_name = "INTERFACES")]
    pub istio_exclude_interfaces: String,
    /// Capture IPv6 even if the pod has no IPv6 address yet.
    #[arg(long)]
    pub dual_stack: bool,
    /// Print the rules as text for `nft -f` and change nothing.
    #[arg(short = 'n', long, visible_alias = "dry-run")]
    pub print: bool,
}

/// Why traffic could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A flag has a bad value.
    #[error("flag {flag}: {problem}")]
    Flag {
        /// The flag, short and long.
        flag: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The kernel refused the rules; nothing was changed.
    #[error("install the capture rules")]
    Rules(#[from] ApplyError),
    /// The kernel has other rules than were installed.
    #[error(
        "the capture rules were installed, but the kernel lists {found} instead of {expected}: is another program changing table {}?",
        rules::TABLE
    )]
    Verify {
        /// What was installed: chains and their numbers of rules.
        expected: String,
        /// What was read back.
        found: String,
    },
    /// The address that inbound IPv6 connections to the application come from could not be set up.
    #[error("add address {address} to the loopback interface")]
    LoopbackAddress {
        /// The address.
        address: IpAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The rules could not be printed.
    #[error("print the capture rules")]
    Print(#[source] io::Error),
}

/// Source of inbound connections to the application over IPv6 (Istio's; 127.0.0.6 over IPv4 needs no set-up).
const INBOUND_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Installs (or prints) the rules in the calling thread's network namespace; running it again replaces them.
///
/// # Errors
/// [`CaptureError`] names the flag or the rule. The kernel's answer is `PermissionDenied` without
/// `CAP_NET_ADMIN`.
pub fn run(args: &Args) -> Result<(), CaptureError> {
    let settings = Settings::parse(args, has_ipv6_address())?;
    let table = rules::table(&settings);
    if args.print {
        return io::stdout()
            .write_all(table.to_text().as_bytes())
            .map_err(CaptureError::Print);
    }
    if settings.mode == Mode::None {
        remove(&[Family::Ip, Family::Inet])?;
        tracing::info!("interception mode is NONE: no traffic is captured");
        return Ok(());
    }
    if settings.ipv6 {
        let address = IpAddr::V6(INBOUND_SOURCE_V6);
        link::add_loopback_address(address)
            .map_err(|source| CaptureError::LoopbackAddress { address, source })?;
    }
    nft::apply(&table)?;
    // Of an earlier run, when the pod had other addresses.
    remove(&[if table.family == Family::Ip {
        Family::Inet
    } else {
        Family::Ip
    }])?;
    verify(&table)?;
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    tracing::info!(
        table = rules::TABLE,
        rules,
        ipv6 = settings.ipv6,
        "traffic is captured"
    );
    Ok(())
}

fn remove(families: &[Family]) -> Result<(), CaptureError> {
    for family in families {
        nft::delete(*family, rules::TABLE)?;
    }
    Ok(())
}

fn verify(table: &Table) -> Result<(), CaptureError> {
    let summary = |chain: &nft::Chain| ChainSummary {
        name: chain.name.clone(),
        base: chain.base,
        rules: chain.rules.len(),
    };
    let expected: Vec<ChainSummary> = table.chains.iter().map(summary).collect();
    let found = nft::read_back(table.family, &table.name)?;
    if found == expected {
        return Ok(());
    }
    Err(CaptureError::Verify {
        expected: describe(&expected),
        found: describe(&found),
    })
}

fn describe(chains: &[ChainSummary]) -> String {
    let one = |chain: &ChainSummary| format!("{} ({} rules)", chain.name, chain.rules);
    chains.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether this namespace has an IPv6 address of global scope. Without IPv6 in the kernel: no.
fn has_ipv6_address() -> bool {
    let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    lists_global_address(&text)
}

/// Lines of `address index prefix-length scope flags interface`, numbers in hex; scope 00 is global.
fn lists_global_address(if_inet6: &str) -> bool {
    if_inet6.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"00") && fields.get(5).is_some_and(|interface| *interface != "lo")
    })
}

#[cfg(test)]
mod tests;
