//! A mesh of files: manifests, keys and certificates lie in directories.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use mesh_citadel::{Authority, Live, Verifier};
use mesh_telemetry::metrics::Registry;
use tokio::task::JoinSet;

use super::Platform;
use crate::options::Options;
use crate::root_certificate;

/// Opens the authority and publishes its root.
pub(crate) fn start(options: &Options, metrics: &Registry) -> anyhow::Result<Platform> {
    let files = &options.files;
    let (Some(state_dir), Some(jwks)) = (&files.state_dir, &files.jwks) else {
        anyhow::bail!("--state-dir and --jwks are needed without --kubernetes");
    };
    let authority = Authority::load_or_create(state_dir, options.authority()?, SystemTime::now())?;
    if let Some(path) = &files.root_cert_out {
        root_certificate::publish(path, authority.root_pem())?;
    }
    Ok(Platform {
        authority: Live::fixed(authority),
        verifier: Arc::new(Verifier::key_file(
            jwks,
            &files.token_issuer,
            &options.token_audience,
        )),
        discovery: mesh_pilot::Options {
            config_dirs: files.config_dirs.clone(),
            trust_domain: options.trust_domain.parse().context("--trust-domain")?,
            metrics: metrics.clone(),
            ..mesh_pilot::Options::default()
        },
        injection: None,
        campaigns: Vec::new(),
        writing: JoinSet::new(),
        following: JoinSet::new(),
    })
}
