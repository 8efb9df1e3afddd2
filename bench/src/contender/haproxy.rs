//! A pair of HAProxys.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::pki::Pki;
use super::{Setup, wait_until};
use crate::child::{Child, Output, Program, arguments};
use crate::place::{LANES, Lane, Protocol};

/// Starts the pair: the client's proxy, the server's.
pub(super) fn start(program: &Path, setup: &Setup, directory: &Path) -> anyhow::Result<Vec<Child>> {
    let pki = Pki::create(directory)?;
    let mut proxies = Vec::new();
    for (name, text) in [
        ("client", client(setup, &pki)),
        ("server", server(setup, &pki)),
    ] {
        let path = directory.join(format!("haproxy-{name}.cfg"));
        std::fs::write(&path, text).context("write HAProxy's configuration")?;
        proxies.push(Child::start(Program {
            name: &format!("HAProxy of the {name}"),
            path: program,
            // In the foreground.
            arguments: arguments([&"-db", &"-f", &path]),
            environment: Vec::new(),
            processors: &setup.processors.proxies,
            log: Some(directory.join(format!("haproxy-{name}.log"))),
            output: Output::Null,
        })?);
    }
    wait_until("HAProxy listens", &mut proxies, || {
        for lane in LANES {
            for address in [setup.ports.client(lane), setup.ports.server(lane)] {
                std::net::TcpStream::connect(address)?;
            }
        }
        Ok(())
    })?;
    Ok(proxies)
}

fn head(setup: &Setup) -> String {
    format!(
        "global
  nbthread {}
  maxconn {}
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  log global
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  retries 2
",
        setup.workers,
        setup.connections()
    )
}

fn mode(lane: Lane) -> &'static str {
    match lane.protocol {
        Protocol::Tcp => "  mode tcp\n  option tcplog\n",
        _ => "  mode http\n  option httplog\n  option forwardfor\n",
    }
}

fn protocol(lane: Lane) -> &'static str {
    match lane.protocol {
        Protocol::Http2 | Protocol::Grpc => " proto h2",
        Protocol::Http1 | Protocol::Tcp => "",
    }
}

fn alpn(lane: Lane) -> &'static str {
    match lane.protocol {
        Protocol::Http2 | Protocol::Grpc => " alpn h2",
        Protocol::Http1 => " alpn http/1.1",
        Protocol::Tcp => "",
    }
}

fn client(setup: &Setup, pki: &Pki) -> String {
    let mut text = head(setup);
    for lane in LANES {
        let (bind, upstream) = (setup.ports.client(lane), setup.ports.server(lane));
        let _ = write!(text, "listen {}\n{}", lane.name, mode(lane));
        let reuse = match (lane.protocol, lane.once) {
            (Protocol::Tcp, _) => "",
            (_, true) => "  http-reuse never\n  option http-server-close\n",
            (_, false) => "  http-reuse always\n",
        };
        let tls = if lane.mtls {
            format!(
                " ssl verify required ca-file {} crt {}{}{}",
                pki.root.display(),
                pki.client.both.display(),
                alpn(lane),
                if setup.peers_resume {
                    ""
                } else {
                    " no-ssl-reuse"
                }
            )
        } else {
            protocol(lane).to_owned()
        };
        let _ = write!(
            text,
            "{reuse}  bind {bind}{}\n  server upstream {upstream}{tls}\n",
            protocol(lane)
        );
    }
    text
}

fn server(setup: &Setup, pki: &Pki) -> String {
    let mut text = head(setup);
    for lane in LANES {
        let (bind, upstream) = (setup.ports.server(lane), setup.ports.backend(lane.protocol));
        let tls = if lane.mtls {
            format!(
                " ssl crt {} ca-file {} verify required{}",
                pki.server.both.display(),
                pki.root.display(),
                alpn(lane)
            )
        } else {
            protocol(lane).to_owned()
        };
        let _ = write!(text, "listen {}\n{}", lane.name, mode(lane));
        if lane.protocol != Protocol::Tcp {
            text.push_str("  http-reuse always\n");
        }
        let _ = write!(
            text,
            "  bind {bind}{tls}\n  server upstream {upstream}{}\n",
            protocol(lane)
        );
    }
    text
}
