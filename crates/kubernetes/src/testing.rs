//! A private API server for tests: etcd and kube-apiserver on free ports of the loopback, in a
//! temporary directory, ended on drop (and also when the test itself is killed).
//!
//! It is the real thing as far as the API goes: role-based access control, admission webhooks,
//! service account tokens ([TokenRequest and TokenReview]), CRDs, watches. There are no
//! controllers and no nodes: nothing makes service accounts of a new namespace, no deletion of a
//! namespace ends, nothing collects what a deleted owner leaves, no pod runs.
//!
//! A start takes some seconds and 300 MB: have one per test binary, with a namespace or name per
//! check, and one of its own only for a test that stops it.
//!
//! [TokenRequest and TokenReview]: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/

mod pki;
mod process;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{Api, Client};
use tempfile::TempDir;

use self::pki::Pki;
use self::process::Process;
use crate::{Target, connect};

/// Where `setup-envtest` and kubebuilder put the binaries when nothing else is said.
const DEFAULT_ASSETS: &str = "/usr/local/kubebuilder/bin";

/// Issuer of the server's service account tokens.
pub const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Directories of the store, and of its copy.
const STORE: &str = "store";
const COPY: &str = "copy";

/// On a loaded machine of two cores a start was seen to take 25 s.
const START_WITHIN: Duration = Duration::from_secs(120);

/// A running API server with a store of its own.
pub struct ApiServer {
    server: Option<Process>,
    etcd: Option<Process>,
    binary: PathBuf,
    etcd_binary: PathBuf,
    peer_port: u16,
    port: u16,
    etcd_port: u16,
    pki: Pki,
    kubeconfig: PathBuf,
    directory: TempDir,
}

impl ApiServer {
    /// Starts one and waits until it is ready.
    ///
    /// `None`, and a line on standard error that says so, if there is no kube-apiserver in
    /// `$KUBEBUILDER_ASSETS` (or `/usr/local/kubebuilder/bin`), or no etcd there or on the PATH.
    ///
    /// # Panics
    /// If they are there and don't come up within two minutes; with the end of their logs.
    pub async fn start() -> Option<ApiServer> {
        let Some((binary, etcd_binary)) = binaries() else {
            eprintln!(
                "SKIPPED: no kube-apiserver and etcd in $KUBEBUILDER_ASSETS or {DEFAULT_ASSETS} \
                 (`setup-envtest use` fetches them)"
            );
            return None;
        };
        let directory = tempfile::tempdir().expect("make a temporary directory");
        let [port, etcd_port, peer_port] = free_ports();
        let pki = Pki::create(directory.path());
        let kubeconfig = pki.kubeconfig(port, "admin", Some("system:masters"));
        let mut server = ApiServer {
            server: None,
            etcd: None,
            binary,
            etcd_binary,
            peer_port,
            port,
            etcd_port,
            pki,
            kubeconfig,
            directory,
        };
        Box::pin(server.restart()).await;
        Some(server)
    }

    /// A new client with all rights (group `system:masters`), for the runtime of the caller.
    pub async fn client(&self) -> Client {
        client_of(&self.kubeconfig).await
    }

    /// A new client of another user, known by certificate: no rights until a binding gives some.
    pub async fn client_as(&self, user: &str) -> Client {
        client_of(&self.kubeconfig_as(user)).await
    }

    /// Kubeconfig of the user with all rights, for commands.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig of another user. It lives as long as the server's directory.
    pub fn kubeconfig_as(&self, user: &str) -> PathBuf {
        self.pki.kubeconfig(self.port, user, None)
    }

    /// The server's address, for example `https://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// PEM of the authority behind the server's certificate (a cluster's `kube-root-ca.crt`).
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.pki.file(pki::AUTHORITY)).expect("read our own file")
    }

    /// Ends the API server at once, as a crash would: connections break, the store stays.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Keeps a copy of the store as it is now. The API server is restarted for it.
    ///
    /// # Panics
    /// If it does not come up again, or the copy can't be made.
    pub async fn save(&mut self) {
        self.replace_store(STORE, COPY).await;
    }

    /// Restarts the API server over the copy of the store that [`ApiServer::save`] made: its
    /// versions are older than what clients have seen.
    ///
    /// # Panics
    /// If it does not come up, or there is no copy.
    pub async fn set_back(&mut self) {
        self.replace_store(COPY, STORE).await;
    }

    async fn replace_store(&mut self, from: &str, to: &str) {
        self.stop();
        self.etcd = None;
        let place = |name: &str| self.directory.path().join(name);
        let _ = std::fs::remove_dir_all(place(to));
        copy(&place(from), &place(to)).expect("copy the store");
        self.restart().await;
    }

    /// Starts the API server (again) at the same address over the same store, and waits until it
    /// is ready.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn restart(&mut self) {
        self.stop();
        if self.etcd.is_none() {
            self.etcd = Some(self.start_etcd());
        }
        self.server = Some(self.start_server());
        let deadline = Instant::now() + START_WITHIN;
        loop {
            match Box::pin(self.check_ready()).await {
                Ok(()) => return,
                Err(reason) if self.has_ended() || Instant::now() > deadline => panic!(
                    "the API server is not ready: {reason}\n{}\n{}",
                    process::log_end(self.directory.path(), "kube-apiserver"),
                    process::log_end(self.directory.path(), "etcd"),
                ),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_none_or(Process::has_ended)
    }

    async fn check_ready(&self) -> Result<(), kube::Error> {
        let client = self.client().await;
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .expect("a valid request");
        client.request_text(request).await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.get("default").await?;
        // It makes its own Service a moment later. A test that compares all objects would see it come.
        let services: Api<Service> = Api::namespaced(client, "default");
        services.get("kubernetes").await.map(drop)
    }

    fn start_etcd(&self) -> Process {
        let directory = self.directory.path();
        let url = format!("http://127.0.0.1:{}", self.etcd_port);
        Process::start(
            directory,
            &self.etcd_binary,
            &[
                format!("--data-dir={}", directory.join(STORE).display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls=http://127.0.0.1:{}", self.peer_port),
            ],
        )
    }

    fn start_server(&self) -> Process {
        let file = |name: &str| self.pki.file(name).display().to_string();
        Process::start(
            self.directory.path(),
            &self.binary,
            &[
                format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={}", self.port),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
                format!("--cert-dir={}", file("")),
                format!("--tls-cert-file={}", file(pki::SERVER_CERTIFICATE)),
                format!("--tls-private-key-file={}", file(pki::SERVER_KEY)),
                format!("--client-ca-file={}", file(pki::AUTHORITY)),
                format!(
                    "--service-account-key-file={}",
                    file(pki::ACCOUNTS_PUBLIC_KEY)
                ),
                format!(
                    "--service-account-signing-key-file={}",
                    file(pki::ACCOUNTS_KEY)
                ),
                format!("--service-account-issuer={TOKEN_ISSUER}"),
                "--authorization-mode=RBAC".into(),
                "--allow-privileged=true".into(),
                // Nothing makes the service account `default`, without which no pod is admitted.
                "--disable-admission-plugins=ServiceAccount".into(),
                // The endpoint of Service `kubernetes` would be a loopback address, which is invalid.
                "--endpoint-reconciler-type=none".into(),
                // Webhooks that name a Service are called at its endpoints: there is no kube-proxy.
                "--enable-aggregator-routing=true".into(),
            ],
        )
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

async fn client_of(kubeconfig: &Path) -> Client {
    let target = Target {
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
    };
    connect(&target).await.expect("our own kubeconfig is valid")
}

/// kube-apiserver and etcd, if both are there.
fn binaries() -> Option<(PathBuf, PathBuf)> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS");
    let assets = assets.map_or_else(|| PathBuf::from(DEFAULT_ASSETS), PathBuf::from);
    let server = assets.join("kube-apiserver");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let etcd = std::iter::once(assets)
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("etcd"))
        .find(|file| file.is_file())?;
    server.is_file().then_some((server, etcd))
}

/// Ports that nobody listened on a moment ago, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on the loopback")
    });
    listeners.map(|listener| listener.local_addr().expect("a bound socket").port())
}

#[cfg(test)]
mod tests;
