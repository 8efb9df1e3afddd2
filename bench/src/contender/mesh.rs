//! Our pair: `meshd` with the manifests of the run, and two `meshproxy` that fetch configuration and
//! certificates from it as sidecars do.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;

use super::manifests::{self, Mass};
use super::token::Signer;
use super::{Setup, get, wait_until};
use crate::child::{Child, Output, Program, arguments};
use crate::place::{CLIENT_POD, Ports, SERVER_POD};

/// Endpoints of each service that is only configured.
pub(crate) const ENDPOINTS: usize = 3;
/// Services in one file of manifests.
const PER_FILE: usize = 1000;

/// The directories and files of a control plane.
struct Files {
    config: PathBuf,
    state: PathBuf,
    jwks: PathBuf,
    root: PathBuf,
}

/// A running `meshd`.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    /// The process.
    pub(crate) process: Child,
    /// Directory of its manifests; changes go live.
    pub(crate) config: PathBuf,
    /// The certificates by which it is known.
    root: PathBuf,
    ports: Ports,
}

/// The name in certificates of a service account.
pub(crate) fn service_account(name: &str) -> String {
    format!("spiffe://cluster.local/ns/bench/sa/{name}")
}

impl ControlPlane {
    /// Starts `meshd` on manifests (by file name) and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(
        programs: &Path,
        setup: &Setup,
        directory: &Path,
        manifests: &[(String, String)],
    ) -> anyhow::Result<(Self, TokenOffice)> {
        let files = Files {
            config: directory.join("config"),
            state: directory.join("state"),
            jwks: directory.join("jwks.json"),
            root: directory.join("root.pem"),
        };
        for made in [&files.config, &files.state] {
            std::fs::create_dir_all(made).with_context(|| format!("make {}", made.display()))?;
        }
        for (name, text) in manifests {
            let path = files.config.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let signer = Signer::create(&files.jwks)?;
        let process = meshd(programs, setup, directory, &files)?;
        let mut processes = [process];
        let monitoring = setup.ports.control()[2];
        wait_until("meshd serves", &mut processes, || {
            let status = get(monitoring, "/ready")?;
            ensure!(status == 200, "status {status}");
            Ok(())
        })?;
        let [process] = processes;
        let plane = Self {
            process,
            config: files.config,
            root: files.root,
            ports: setup.ports,
        };
        Ok((plane, TokenOffice(signer)))
    }
}

impl ControlPlane {
    /// Where xDS is served in plaintext.
    pub(crate) fn xds(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.ports.control()[0]).into()
    }
}

/// Gives the proxies their tokens.
pub(crate) struct TokenOffice(Signer);

fn meshd(programs: &Path, setup: &Setup, directory: &Path, files: &Files) -> anyhow::Result<Child> {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let [xds, secure, monitoring] = setup.ports.control().map(at);
    Child::start(Program {
        name: "meshd",
        path: &programs.join("meshd"),
        arguments: arguments([
            &"--config-dir",
            &files.config,
            &"--state-dir",
            &files.state,
            &"--jwks",
            &files.jwks,
            &"--root-cert-out",
            &files.root,
            &"--xds-address",
            &xds,
            &"--secure-address",
            &secure,
            &"--monitoring-address",
            &monitoring,
            &"--log-level",
            &"warn",
        ]),
        environment: Vec::new(),
        processors: &setup.processors.load,
        log: Some(directory.join("meshd.log")),
        output: Output::Null,
    })
}

/// Starts the control plane and the pair; the pair first in the result.
pub(super) fn start(
    programs: &Path,
    setup: &Setup,
    directory: &Path,
) -> anyhow::Result<(Vec<Child>, Vec<Child>)> {
    let mut texts = vec![(
        "bench.yaml".to_owned(),
        manifests::pair(setup.ports, setup.services > 0),
    )];
    let all = Mass {
        services: setup.services,
        endpoints: ENDPOINTS,
        port: setup.ports.mass(),
    };
    texts.extend(all.files());
    let (plane, tokens) = ControlPlane::start(programs, setup, directory, &texts)?;
    let sides = [
        ("client", CLIENT_POD.to_string()),
        ("server", SERVER_POD.to_string()),
    ];
    let mut proxies = Vec::new();
    for (number, (name, ip)) in (0..).zip(sides) {
        let token = directory.join(format!("{name}.token"));
        std::fs::write(&token, tokens.0.issue("bench", name)?).context("write a token")?;
        let side = Side {
            number,
            name,
            ip,
            token,
        };
        proxies.push(proxy(programs, setup, directory, &plane, &side)?);
    }
    let ready = [0, 1].map(|number| setup.ports.own(number).readiness);
    wait_until("the proxies are ready", &mut proxies, || {
        for port in ready {
            let status = get(port, "/healthz/ready")?;
            ensure!(status == 200, "readiness is {status}");
        }
        Ok(())
    })?;
    Ok((proxies, vec![plane.process]))
}

impl Mass {
    /// All services as files of manifests.
    pub(crate) fn files(self) -> impl Iterator<Item = (String, String)> {
        (0..self.services).step_by(PER_FILE).map(move |first| {
            let last = self.services.min(first + PER_FILE);
            let text = manifests::mass(self, first..last);
            (format!("mass-{first}.yaml"), text)
        })
    }
}

struct Side {
    number: u16,
    name: &'static str,
    ip: String,
    token: PathBuf,
}

fn proxy(
    programs: &Path,
    setup: &Setup,
    directory: &Path,
    plane: &ControlPlane,
    side: &Side,
) -> anyhow::Result<Child> {
    let own = plane.ports.own(side.number);
    let secure = plane.ports.control()[1];
    let config = json!({
        "discoveryAddress": format!("localhost:{secure}"),
        "concurrency": setup.workers,
        "proxyAdminPort": own.admin,
        "statusPort": own.status,
    });
    let name = side.name;
    let text = |value: &str| value.to_owned();
    let path = |path: &Path| path.display().to_string();
    Child::start(Program {
        name: &format!("meshproxy of the {name}"),
        path: &programs.join("meshproxy"),
        arguments: arguments([&"proxy", &"sidecar", &"--log-level", &"warn"]),
        environment: vec![
            ("POD_NAME", text(name)),
            ("POD_NAMESPACE", text("bench")),
            ("SERVICE_ACCOUNT", text(name)),
            ("INSTANCE_IP", side.ip.clone()),
            ("PROXY_CONFIG", config.to_string()),
            ("ISTIO_META_INTERCEPTION_MODE", text("NONE")),
            ("ISTIO_META_WORKLOAD_NAME", text(name)),
            ("ENVOY_STATUS_PORT", own.readiness.to_string()),
            ("ENVOY_PROMETHEUS_PORT", own.metrics.to_string()),
            ("ISTIO_TOKEN_PATH", path(&side.token)),
            ("ISTIO_ROOT_CERT_PATH", path(&plane.root)),
        ],
        processors: &setup.processors.proxies,
        log: Some(directory.join(format!("meshproxy-{name}.log"))),
        // Where the access log goes.
        output: Output::Null,
    })
}
