//! The command line of `meshd`, and what its parts make of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use mesh_telemetry::log;
use mesh_telemetry::metrics::Registry;

/// The control plane of the mesh: discovery and certificate authority in one process.
#[derive(Parser)]
#[command(name = "meshd", version)]
pub(crate) struct Options {
    /// Directory tree (or file) of Kubernetes and mesh manifests to watch; may be repeated.
    #[arg(long = "config-dir", required = true, value_name = "DIR")]
    config_dirs: Vec<PathBuf>,
    /// Where the root certificate and its key are kept; plugged-in ones (ca-cert.pem,
    /// ca-key.pem, root-cert.pem, cert-chain.pem) are found here too.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// JWKS file with the keys that sign service-account tokens; reread when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) jwks: PathBuf,
    /// Issuer that tokens must have.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    pub(crate) token_issuer: String,
    /// Audience that tokens must have.
    #[arg(long, default_value = "istio-ca")]
    pub(crate) token_audience: String,
    /// Trust domain of the mesh's identities.
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// Namespace of the service `istiod`, by whose names proxies know this process.
    #[arg(long, default_value = "istio-system")]
    pub(crate) namespace: String,
    /// File to write the root certificate to, for platforms that hand it to the pods.
    #[arg(long, value_name = "FILE")]
    pub(crate) root_cert_out: Option<PathBuf>,
    /// Lifetime of workload certificates for which none is asked, in seconds.
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    default_workload_cert_ttl: u64,
    /// Longest lifetime of workload certificates, in seconds.
    #[arg(long, default_value_t = 7_776_000, value_name = "SECONDS")]
    max_workload_cert_ttl: u64,
    /// Where xDS is served in plaintext.
    #[arg(long, default_value = "0.0.0.0:15010")]
    pub(crate) xds_address: SocketAddr,
    /// Where xDS and certificate signing are served over TLS.
    #[arg(long, default_value = "0.0.0.0:15012")]
    pub(crate) secure_address: SocketAddr,
    /// Where metrics and debug pages are served.
    #[arg(long, default_value = "0.0.0.0:15014")]
    pub(crate) monitoring_address: SocketAddr,
    /// What is logged: a level, or directives such as `info,mesh_pilot=debug`.
    #[arg(long, default_value = "info", env = "MESHD_LOG")]
    pub(crate) log_level: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_as: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Default, ValueEnum)]
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

    pub(crate) fn authority(&self) -> anyhow::Result<mesh_citadel::Options> {
        Ok(mesh_citadel::Options {
            trust_domain: self.trust_domain.parse().context("--trust-domain")?,
            default_ttl: Duration::from_secs(self.default_workload_cert_ttl),
            max_ttl: Duration::from_secs(self.max_workload_cert_ttl),
        })
    }

    pub(crate) fn pilot(&self, metrics: &Registry) -> anyhow::Result<mesh_pilot::Options> {
        Ok(mesh_pilot::Options {
            config_dirs: self.config_dirs.clone(),
            trust_domain: self.trust_domain.parse().context("--trust-domain")?,
            metrics: metrics.clone(),
            ..mesh_pilot::Options::default()
        })
    }
}
