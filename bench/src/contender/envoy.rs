//! A pair of Envoys with the filters that our pair has.

use std::path::Path;

use anyhow::Context;

use super::pki::Pki;
use super::{Setup, envoy_config, wait_until};
use crate::child::{Child, Output, Program, arguments};
use crate::place::LANES;

/// Starts the pair: the client's proxy, the server's.
pub(super) fn start(program: &Path, setup: &Setup, directory: &Path) -> anyhow::Result<Vec<Child>> {
    let pki = Pki::create(directory)?;
    let configurations = [
        ("client", envoy_config::client(setup, &pki)),
        ("server", envoy_config::server(setup, &pki)),
    ];
    let mut proxies = Vec::new();
    for (name, configuration) in configurations {
        let path = directory.join(format!("envoy-{name}.json"));
        std::fs::write(&path, configuration.to_string()).context("write Envoy's configuration")?;
        proxies.push(Child::start(Program {
            name: &format!("Envoy of the {name}"),
            path: program,
            arguments: arguments([
                &"--config-path",
                &path,
                &"--concurrency",
                &setup.workers.to_string(),
                &"--disable-hot-restart",
                &"--log-level",
                &"error",
            ]),
            environment: Vec::new(),
            processors: &setup.processors.proxies,
            log: Some(directory.join(format!("envoy-{name}.log"))),
            output: Output::Null,
        })?);
    }
    wait_until("Envoy listens", &mut proxies, || {
        for lane in LANES {
            for address in [setup.ports.client(lane), setup.ports.server(lane)] {
                std::net::TcpStream::connect(address)?;
            }
        }
        Ok(())
    })?;
    Ok(proxies)
}
