//! The command line of `meshd`, and what its parts make of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use mesh_telemetry::log;

/// The control plane of the mesh: discovery, certificate authority and injection in one process.
///
/// It reads either manifests from files (--config-dir, --state-dir, --jwks) or a Kubernetes
/// cluster (--kubernetes).
#[derive(Parser, Debug)]
#[command(name = "meshd", version)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) files: FileOptions,
    #[command(flatten)]
    pub(crate) kubernetes: KubernetesOptions,
    /// Audience that tokens must have.
    #[arg(long, default_value = "istio-ca")]
    pub(crate) token_audience: String,
    /// Trust domain of the mesh's identities.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// The mesh's namespace: that of the service `istiod`, by whose names proxies know this
    /// process, and on Kubernetes of all that the control plane keeps.
    #[arg(long, default_value = "istio-system")]
    pub(crate) namespace: String,
    /// Lifetime of workload certificates for which none is asked.
    #[arg(
        long,
        env = "DEFAULT_WORKLOAD_CERT_TTL",
        default_value = "24h",
        value_name = "DURATION",
        value_parser = duration
    )]
    default_workload_cert_ttl: Duration,
    /// Longest lifetime of workload certificates.
    #[arg(
        long,
        env = "MAX_WORKLOAD_CERT_TTL",
        default_value = "2160h",
        value_name = "DURATION",
        value_parser = duration
    )]
    max_workload_cert_ttl: Duration,
    /// Where xDS is served in plaintext.
    #[arg(long, default_value = "[::]:15010")]
    pub(crate) xds_address: SocketAddr,
    /// Where xDS and certificate signing are served over TLS.
    #[arg(long, default_value = "[::]:15012")]
    pub(crate) secure_address: SocketAddr,
    /// Where metrics and debug pages are served.
    #[arg(long, default_value = "[::]:15014")]
    pub(crate) monitoring_address: SocketAddr,
    /// What is logged: a level, or directives such as `info,mesh_pilot=debug`.
    #[arg(long, default_value = "info", env = "MESHD_LOG")]
    log_level: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_as: LogFormat,
}

/// For a mesh of files.
#[derive(Args, Debug)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileOptions {
    /// Directory tree (or file) of Kubernetes and mesh manifests to watch; may be repeated.
    #[arg(
        long = "config-dir",
        required_unless_present = "kubernetes",
        value_name = "DIR"
    )]
    pub(crate) config_dirs: Vec<PathBuf>,
    /// Where the root certificate and its key are kept; plugged-in ones (ca-cert.pem,
    /// ca-key.pem, root-cert.pem, cert-chain.pem) are found here too.
    #[arg(long, required_unless_present = "kubernetes", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// JWKS file with the keys that sign service-account tokens; reread when it changes.
    #[arg(long, required_unless_present = "kubernetes", value_name = "FILE")]
    pub(crate) jwks: Option<PathBuf>,
    /// Issuer that tokens must have.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    pub(crate) token_issuer: String,
    /// File to write the root certificate to, for platforms that hand it to the pods.
    #[arg(long, value_name = "FILE")]
    pub(crate) root_cert_out: Option<PathBuf>,
}

/// For a mesh on Kubernetes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct KubernetesOptions {
    /// Read configuration and endpoints from the API server, keep the authority in its Secrets,
    /// and answer its webhooks.
    #[arg(
        long,
        conflicts_with_all = ["config_dirs", "state_dir", "jwks", "token_issuer", "root_cert_out"]
    )]
    pub(crate) kubernetes: bool,
    /// Kubeconfig of the cluster, where this process doesn't run in one of its pods.
    #[arg(long, conflicts_with = "config_dirs", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Revision of this control plane: the names of its objects end in it, `default` has no
    /// suffix.
    #[arg(long, conflicts_with = "config_dirs", default_value = "default")]
    pub(crate) revision: String,
    /// Id of the cluster.
    #[arg(long, conflicts_with = "config_dirs", default_value = "Kubernetes")]
    pub(crate) cluster_id: String,
    /// Where the webhooks for injection and validation are served.
    #[arg(long, conflicts_with = "config_dirs", default_value = "[::]:15017")]
    pub(crate) webhook_address: SocketAddr,
    /// How long a new root certificate is given out before anything is signed under it; pods see
    /// a changed ConfigMap after up to 150 seconds.
    #[arg(
        long,
        conflicts_with = "config_dirs",
        default_value = "5m",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub(crate) root_propagation: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl Options {
    pub(crate) fn log_format(&self) -> log::Format {
        match self.log_as {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        }
    }

    /// kube logs as an error each request that failed, whose caller tells it with the remedy.
    pub(crate) fn log_filter(&self) -> String {
        format!("kube_client::client::builder=off,{}", self.log_level)
    }

    pub(crate) fn authority(&self) -> anyhow::Result<mesh_citadel::Options> {
        Ok(mesh_citadel::Options {
            trust_domain: self.trust_domain.parse().context("--trust-domain")?,
            default_ttl: self.default_workload_cert_ttl,
            max_ttl: self.max_workload_cert_ttl,
        })
    }

    /// A name of this revision: `istiod`, or `istiod-canary`.
    pub(crate) fn named(&self, base: &str) -> String {
        match self.kubernetes.revision.as_str() {
            "" | "default" => base.to_owned(),
            revision => format!("{base}-{revision}"),
        }
    }

    /// The DNS names that proxies and the API server have for this process.
    pub(crate) fn names(&self) -> Vec<String> {
        let service = self.named("istiod");
        mesh_citadel::control_plane_names(&service, &self.namespace, &self.cluster_domain)
    }
}

/// `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; write for example 90s or 5m"))?;
    Duration::try_from(span).map_err(|_| "it is negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        let arguments = std::iter::once("meshd").chain(arguments.split_whitespace());
        Options::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mesh_is_of_files_or_of_a_cluster() {
        assert!(parse("--config-dir a --state-dir b --jwks c").is_ok());
        let options = parse("--kubernetes --revision canary").unwrap();
        assert_eq!(options.named("istiod"), "istiod-canary");
        for (arguments, told) in [
            ("", "--config-dir"),
            ("--config-dir a --jwks c", "--state-dir"),
            ("--kubernetes --state-dir b", "cannot be used with"),
            ("--kubernetes --token-issuer x", "cannot be used with"),
            (
                "--config-dir a --state-dir b --jwks c --revision x",
                "cannot be used with",
            ),
            (
                "--config-dir a --state-dir b --jwks c --webhook-address 0.0.0.0:1",
                "cannot be used with",
            ),
        ] {
            let said = parse(arguments).unwrap_err();
            assert!(said.contains(told), "{arguments}: {said}");
        }
    }

    #[test]
    fn durations_have_units() {
        let options = parse("--kubernetes --root-propagation 1m30s").unwrap();
        assert_eq!(options.kubernetes.root_propagation.as_secs(), 90);
        assert_eq!(options.max_workload_cert_ttl.as_secs(), 90 * 86_400);
        let said = parse("--kubernetes --root-propagation 90").unwrap_err();
        assert!(said.contains("write for example 90s or 5m"), "{said}");
    }
}
