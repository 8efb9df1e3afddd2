//! The flags, checked.

use std::str::FromStr;

use ipnet::IpNet;

use super::{Args, CaptureError};

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) outbound_port: u16,
    pub(super) inbound_port: u16,
    pub(super) tunnel_port: u16,
    pub(super) proxy_uids: Vec<u32>,
    pub(super) proxy_gids: Vec<u32>,
    pub(super) include_ranges: Selection<IpNet>,
    pub(super) exclude_ranges: Vec<IpNet>,
    pub(super) include_inbound_ports: Selection<u16>,
    pub(super) exclude_inbound_ports: Vec<u16>,
    pub(super) include_outbound_ports: Selection<u16>,
    pub(super) exclude_outbound_ports: Vec<u16>,
    pub(super) virtual_interfaces: Vec<String>,
    pub(super) exclude_interfaces: Vec<String>,
    pub(super) ipv6: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Redirect,
    None,
}

/// All, or those listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection<T> {
    All,
    Only(Vec<T>),
}

impl Settings {
    /// # Errors
    /// [`CaptureError::Flag`] for the first bad value.
    pub(super) fn parse(args: &Args, has_ipv6: bool) -> Result<Settings, CaptureError> {
        let uid_flag = "-u, --proxy-uid";
        let proxy_uids = list("user id", uid_flag, &args.proxy_uid)?;
        if proxy_uids.is_empty() {
            // Without one the proxy would capture its own traffic, for ever.
            return Err(bad(
                uid_flag,
                "needs at least one user id, such as 1337".to_owned(),
            ));
        }
        let proxy_gids = match &args.proxy_gid {
            Some(gids) => list("group id", "-g, --proxy-gid", gids)?,
            None => proxy_uids.clone(),
        };
        let exclude_flag = "-x, --istio-service-exclude-cidr";
        Ok(Settings {
            mode: mode(&args.istio_inbound_interception_mode)?,
            outbound_port: port("-p, --envoy-port", &args.envoy_port)?,
            inbound_port: port("-z, --inbound-capture-port", &args.inbound_capture_port)?,
            tunnel_port: port("-e, --inbound-tunnel-port", &args.inbound_tunnel_port)?,
            proxy_uids,
            proxy_gids,
            include_ranges: ranges("-i, --istio-service-cidr", &args.istio_service_cidr)?,
            exclude_ranges: only(
                exclude_flag,
                ranges(exclude_flag, &args.istio_service_exclude_cidr)?,
            )?,
            include_inbound_ports: ports("-b, --istio-inbound-ports", &args.istio_inbound_ports)?,
            exclude_inbound_ports: excluded_ports(
                "-d, --istio-local-exclude-ports",
                &args.istio_local_exclude_ports,
            )?,
            include_outbound_ports: ports(
                "-q, --istio-outbound-ports",
                &args.istio_outbound_ports,
            )?,
            exclude_outbound_ports: excluded_ports(
                "-o, --istio-local-outbound-ports-exclude",
                &args.istio_local_outbound_ports_exclude,
            )?,
            virtual_interfaces: interfaces(
                "-k, --kube-virt-interfaces",
                &args.kube_virt_interfaces,
            )?,
            exclude_interfaces: interfaces(
                "-c, --istio-exclude-interfaces",
                &args.istio_exclude_interfaces,
            )?,
            ipv6: has_ipv6 || args.dual_stack,
        })
    }
}

fn bad(flag: &'static str, problem: String) -> CaptureError {
    CaptureError::Flag { flag, problem }
}

fn mode(text: &str) -> Result<Mode, CaptureError> {
    let flag = "-m, --istio-inbound-interception-mode";
    match text {
        "REDIRECT" => Ok(Mode::Redirect),
        "NONE" => Ok(Mode::None),
        "TPROXY" => Err(bad(
            flag,
            "TPROXY is not supported; use REDIRECT".to_owned(),
        )),
        other => Err(bad(
            flag,
            format!("`{other}` is not a mode; use REDIRECT or NONE"),
        )),
    }
}

/// The entries of a comma-separated list; empty ones are left out, as Istio does.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

fn list<T: FromStr>(what: &str, flag: &'static str, text: &str) -> Result<Vec<T>, CaptureError> {
    let one = |entry: &str| {
        entry.parse().map_err(|_| {
            bad(
                flag,
                format!("`{entry}` is not a {what}; use a comma-separated list"),
            )
        })
    };
    entries(text).map(one).collect()
}

fn port(flag: &'static str, text: &str) -> Result<u16, CaptureError> {
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(bad(
            flag,
            format!("`{text}` is not a port; use a number from 1 to 65535"),
        )),
    }
}

fn ports(flag: &'static str, text: &str) -> Result<Selection<u16>, CaptureError> {
    if text.trim() == "*" {
        return Ok(Selection::All);
    }
    entries(text)
        .map(|entry| port(flag, entry))
        .collect::<Result<_, _>>()
        .map(Selection::Only)
}

fn ranges(flag: &'static str, text: &str) -> Result<Selection<IpNet>, CaptureError> {
    if text.trim() == "*" {
        return Ok(Selection::All);
    }
    let what = "range of addresses such as 10.0.0.0/8";
    list(what, flag, text).map(Selection::Only)
}

fn excluded_ports(flag: &'static str, text: &str) -> Result<Vec<u16>, CaptureError> {
    only(flag, ports(flag, text)?)
}

fn only<T>(flag: &'static str, selection: Selection<T>) -> Result<Vec<T>, CaptureError> {
    match selection {
        Selection::Only(some) => Ok(some),
        Selection::All => Err(bad(
            flag,
            "`*` would exclude everything; use -m NONE for that".to_owned(),
        )),
    }
}

fn interfaces(flag: &'static str, text: &str) -> Result<Vec<String>, CaptureError> {
    /// `IFNAMSIZ` less the final zero.
    const MAX_BYTES: usize = 15;
    let one = |entry: &str| {
        let is_name = entry.len() <= MAX_BYTES
            && entry
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'*'));
        if is_name {
            return Ok(entry.to_owned());
        }
        Err(bad(
            flag,
            format!("`{entry}` is not the name of an interface (at most {MAX_BYTES} characters)"),
        ))
    };
    entries(text).map(one).collect()
}
