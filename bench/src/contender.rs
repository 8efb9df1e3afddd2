//! The contenders: how each is started, and where the load goes.

mod envoy;
mod envoy_config;
mod haproxy;
mod manifests;
mod mesh;
mod pki;
mod token;

pub(crate) mod install;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::child::{Child, Output, Processors, Program, arguments};
use crate::directory;
use crate::place::{Lane, Ports, Protocol, check_free};

#[cfg(test)]
pub(crate) use manifests::mass;
pub(crate) use manifests::{Mass, slice};
pub(crate) use mesh::{ControlPlane, ENDPOINTS, service_account};

/// Files that a proxy needs besides those of connections: HAProxy reserves the most.
const SPARE_FILES: u64 = 200;
/// How long a contender may take to come up.
const START: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contender {
    /// The load goes straight to the server.
    Direct,
    /// Our sidecar pair, configured by our control plane.
    Mesh,
    /// A pair of Envoys.
    Envoy,
    /// A pair of HAProxys.
    Haproxy,
}

impl Contender {
    /// In the order of a round.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Mesh, Self::Envoy, Self::Haproxy];

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "no mesh",
            Self::Mesh => "meshproxy",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
        }
    }
}

/// What a pair is started for.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Port numbers.
    pub(crate) ports: Ports,
    /// Who runs where.
    pub(crate) processors: Processors,
    /// Workers of each proxy.
    pub(crate) workers: usize,
    /// Envoy and HAProxy resume TLS sessions.
    pub(crate) peers_resume: bool,
    /// Files that a proxy may open.
    pub(crate) open_files: u64,
    /// Services that are configured besides the one that is called.
    pub(crate) services: usize,
}

impl Setup {
    /// Connections that a proxy can forward: each needs two files.
    pub(crate) fn connections(&self) -> usize {
        let files = self.open_files.saturating_sub(SPARE_FILES);
        usize::try_from(files / 2).unwrap_or(usize::MAX)
    }
}

/// The programs of a run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Directory of `meshproxy` and `meshd`, or what is missing.
    pub(crate) own: Result<PathBuf, String>,
    /// Envoy, or why there is none.
    pub(crate) envoy: Result<PathBuf, String>,
    /// HAProxy, or why there is none.
    pub(crate) haproxy: Result<PathBuf, String>,
}

/// A running contender.
#[derive(Debug)]
pub(crate) struct Pair {
    contender: Contender,
    ports: Ports,
    /// The client's proxy and the server's; none for [`Contender::Direct`].
    pub(crate) proxies: Vec<Child>,
    others: Vec<Child>,
    _directory: tempfile::TempDir,
}

impl Pair {
    /// Starts a contender and the server behind it, and waits until every lane answers.
    ///
    /// # Errors
    /// When it cannot be started; what it said last is part of the message.
    pub(crate) fn start(
        contender: Contender,
        programs: &Programs,
        setup: &Setup,
    ) -> anyhow::Result<Self> {
        let mut ports = setup.ports.of_server();
        if contender != Contender::Direct {
            ports.extend(setup.ports.of_pair());
        }
        if contender == Contender::Mesh {
            ports.extend(setup.ports.of_mesh());
        }
        check_free(&ports)?;
        let directory = directory::make()?;
        let server = server(setup, directory.path())?;
        let place = directory.path();
        let (proxies, mut others) = match contender {
            Contender::Direct => (Vec::new(), Vec::new()),
            Contender::Mesh => mesh::start(&found(&programs.own)?, setup, place)?,
            Contender::Envoy => (
                envoy::start(&found(&programs.envoy)?, setup, place)?,
                vec![],
            ),
            Contender::Haproxy => (
                haproxy::start(&found(&programs.haproxy)?, setup, place)?,
                vec![],
            ),
        };
        others.push(server);
        Ok(Self {
            contender,
            ports: setup.ports,
            proxies,
            others,
            _directory: directory,
        })
    }

    /// Where the load of a lane goes.
    pub(crate) fn target(&self, lane: Lane) -> SocketAddr {
        match self.contender {
            Contender::Direct => self.ports.backend(lane.protocol),
            _ => self.ports.client(lane),
        }
    }

    /// Fails if a process of the contender has ended.
    ///
    /// # Errors
    /// Names it.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let mut all = self.proxies.iter_mut().chain(&mut self.others);
        all.try_for_each(Child::check)
    }
}

/// A program, or an error that says why there is none.
///
/// # Errors
/// When there is none.
pub(crate) fn found(program: &Result<PathBuf, String>) -> anyhow::Result<PathBuf> {
    program.clone().map_err(anyhow::Error::msg)
}

fn server(setup: &Setup, directory: &Path) -> anyhow::Result<Child> {
    let own = std::env::current_exe().context("find this program")?;
    let at = |protocol| setup.ports.backend(protocol).to_string();
    Child::start(Program {
        name: "the server",
        path: &own,
        arguments: arguments([
            &"server",
            &at(Protocol::Http1),
            &at(Protocol::Http2),
            &at(Protocol::Tcp),
        ]),
        environment: Vec::new(),
        processors: &setup.processors.load,
        log: Some(directory.join("server.log")),
        output: Output::Null,
    })
}

/// A GET to a port on the loopback: the status.
fn get(port: u16, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    // A status line is enough.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split_whitespace().nth(1).context("no answer")?;
    Ok(status.parse()?)
}

/// Tries until `attempt` succeeds or one of `processes` ends.
fn wait_until(
    what: &str,
    processes: &mut [Child],
    mut attempt: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let end = Instant::now() + START;
    loop {
        let Err(error) = attempt() else {
            return Ok(());
        };
        processes.iter_mut().try_for_each(Child::check)?;
        ensure!(
            Instant::now() < end,
            "{what}: not within {START:?}: {error:#}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
