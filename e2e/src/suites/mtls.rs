//! What is on the wire between pods, and who is let in.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{LIVE_WITHIN, Mesh, Test, echo, wire};
use crate::deadline::{eventually, eventually_true};

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "mtls::strict_encrypts_and_refuses_plaintext",
        strict_encrypts_and_refuses_plaintext,
    ),
    ("mtls::permissive_serves_both", permissive_serves_both),
    (
        "mtls::probes_stay_green_in_all_modes",
        probes_stay_green_in_all_modes,
    ),
];

/// A word that no packet may show.
const SECRET: &str = "open-sesame-4711";
/// A port of the server to which a new client has no connection, as no wait for readiness uses it.
const SERVER_PORT: u16 = 8090;
const TLS_1_3: u16 = 0x0304;

fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: default, namespace: echo}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

fn strict_encrypts_and_refuses_plaintext(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    mesh.with_text(&peer_authentication("STRICT"), || {
        let direct = format!("http://{}:8080/", echo.server.ip);
        eventually_true("a client outside the mesh is refused", LIVE_WITHIN, || {
            Ok(echo.status(&echo.outside_client, &[&direct])?.0 == 0)
        })?;
        // A new client has no connection yet: its TLS handshake is in the recording.
        mesh.platform.rollout_restart("echo", "client")?;
        let echo = echo::start(mesh)?;
        let recording = std::thread::scope(|scope| {
            let capture = scope.spawn(|| echo.run(&echo.server, &["capture", "--seconds", "3"]));
            std::thread::sleep(Duration::from_secs(1));
            let secret = format!("http://server.echo:{SERVER_PORT}/{SECRET}");
            let answered = echo.status(
                &echo.client,
                &["-H", &format!("x-secret: {SECRET}"), &secret],
            );
            ensure!(answered?.0 == 200, "the mesh's own client was refused");
            capture
                .join()
                .map_err(|_| anyhow::anyhow!("the capture panicked"))?
        })?;
        check_recording(&recording.stdout, &echo.server.ip)
            .with_context(|| recording.stderr.clone())
    })
}

/// On the pod's interface there is a TLS hello of the mesh, answered by TLS 1.3, and the word that
/// the request carried and the answer echoed is nowhere. (The platform's probes of the proxy's own ports are plaintext.)
fn check_recording(packets: &str, ip: &str) -> anyhow::Result<()> {
    let frames = wire::frames(packets)?;
    ensure!(!frames.is_empty(), "nothing was captured at {ip}");
    ensure!(
        wire::shows(&frames, "outbound_.8090_._.server.echo.svc.cluster.local"),
        "no TLS hello of the mesh was seen"
    );
    let versions = wire::chosen_tls_versions(&frames, SERVER_PORT);
    ensure!(
        !versions.is_empty() && versions.iter().all(|version| *version == TLS_1_3),
        "the server chose {versions:x?}, not TLS 1.3"
    );
    ensure!(
        !wire::shows(&frames, SECRET),
        "the request or its echo was readable on the wire"
    );
    Ok(())
}

fn permissive_serves_both(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let direct = format!("http://{}:8080/", echo.server.ip);
    for (client, url) in [
        (&echo.outside_client, direct.as_str()),
        (&echo.outside_client, "http://server.echo/"),
        (&echo.client, "http://server.echo/"),
    ] {
        eventually(
            &format!("{url} answers {}", client.namespace),
            LIVE_WITHIN,
            || {
                let (status, body) = echo.status(client, &[url])?;
                ensure!(status == 200, "status {status}: {body}");
                Ok(())
            },
        )?;
    }
    Ok(())
}

fn probes_stay_green_in_all_modes(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    for mode in ["STRICT", "PERMISSIVE", "DISABLE"] {
        mesh.with_text(&peer_authentication(mode), || {
            // Probes of three kinds run every second and fail after two or three misses.
            std::thread::sleep(Duration::from_secs(6));
            let pods = mesh.platform.pods("echo", "server")?;
            let pod = pods
                .iter()
                .find(|pod| pod.name == echo.server.name)
                .context("the pod is gone")?;
            ensure!(pod.ready, "the server is not ready under {mode}");
            Ok(())
        })?;
    }
    Ok(())
}
