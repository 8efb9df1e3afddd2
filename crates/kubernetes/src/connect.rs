//! A client of the API server.

use std::error::Error;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Which cluster is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The kubeconfig file; `None` means `$KUBECONFIG`, then `~/.kube/config`, then the service
    /// account of the pod that this process runs in, as kubectl does it.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; `None` means its current one.
    pub context: Option<String>,
}

/// Why there is no client. Nothing has been sent to the cluster yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file that was named is unusable.
    #[error("use kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The context doesn't exist, or the kubeconfig found by default is unusable.
    #[error(
        "use context {context:?} of the kubeconfig (`kubectl config get-contexts` lists them): {reason}"
    )]
    Context {
        /// The context asked for.
        context: String,
        /// What is wrong.
        reason: String,
    },
    /// Neither a usable kubeconfig nor a pod's service account.
    #[error("find a cluster (set KUBECONFIG, or name a file with --kubeconfig): {reason}")]
    NoCluster {
        /// What is wrong with the kubeconfig.
        reason: String,
    },
    /// The configuration makes no client.
    #[error("make a client of the API server at {url}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        #[source]
        source: kube::Error,
    },
}

/// A client of the cluster meant, with the namespace of its context as default.
///
/// # Errors
/// [`ConnectError`]; the API server itself is not asked anything.
pub async fn connect(target: &Target) -> Result<Client, ConnectError> {
    let config = config(target).await?;
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ConnectError::Client { url, source })
}

async fn config(target: &Target) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions {
        context: target.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &target.kubeconfig {
        let unusable = |error| ConnectError::Kubeconfig {
            path: path.clone(),
            reason: reason(&error),
        };
        let file = Kubeconfig::read_from(path).map_err(unusable)?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(unusable);
    }
    if let Some(context) = &target.context {
        return Config::from_kubeconfig(&options)
            .await
            .map_err(|error| ConnectError::Context {
                context: context.clone(),
                reason: reason(&error),
            });
    }
    Config::infer()
        .await
        .map_err(|error| ConnectError::NoCluster {
            // Its own text tells of the pod's service account too, which nobody at a terminal has.
            reason: reason(error.source().unwrap_or(&error)),
        })
}

/// The first line of kube's text, which has that of its sources in it. What may follow are lines of
/// the kubeconfig, and those are secret.
fn reason(error: &dyn Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    // kube quotes paths twice.
    line.replace("'\"", "'").replace("\"'", "'")
}
