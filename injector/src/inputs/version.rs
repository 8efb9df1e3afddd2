//! What the cluster can, by its version.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

/// Kubernetes 1.29 is the first that runs native sidecars unless it is told not to.
const NATIVE_SIDECAR_MINOR: u32 = 29;
/// How soon a version that could not be read is asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a version stands: clusters are upgraded under a running control plane.
const STANDS: Duration = Duration::from_secs(600);

/// Keeps `native` at whether the cluster has native sidecars. Ends when nobody asks any more.
pub(super) async fn follow(client: Client, native: watch::Sender<Option<bool>>) {
    while !native.is_closed() {
        let pause = match mesh_kubernetes::answered(client.apiserver_version()).await {
            Ok(version) => {
                let has = has_native_sidecars(&version.major, &version.minor);
                native.send_if_modified(|known| known.replace(has) != Some(has));
                STANDS
            }
            Err(error) => {
                let error = mesh_kubernetes::explain(&error);
                tracing::warn!(error, "the API server's version could not be read");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = native.closed() => {}
        }
    }
}

/// Whether an API server of that version has native sidecars. `minor` may end in a plus sign, with
/// some vendors in more.
pub fn has_native_sidecars(major: &str, minor: &str) -> bool {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match (major.parse::<u32>(), digits.parse::<u32>()) {
        (Ok(1), Ok(minor)) => minor >= NATIVE_SIDECAR_MINOR,
        (Ok(major), Ok(_)) => major > 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::has_native_sidecars;

    #[test]
    fn native_sidecars_came_with_1_29() {
        for (major, minor) in [("1", "29"), ("1", "36"), ("1", "31+"), ("2", "0")] {
            assert!(has_native_sidecars(major, minor), "{major}.{minor}");
        }
        for (major, minor) in [("1", "28"), ("1", "28+"), ("0", "99"), ("", "")] {
            assert!(!has_native_sidecars(major, minor), "{major}.{minor}");
        }
    }
}
