//! HTTP/1.1, HTTP/2, TCP and server-first protocols through a pair of sidecars.

use anyhow::ensure;

use super::{Mesh, Test, echo};

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "protocols::http1_arrives_with_its_identity",
        http1_arrives_with_its_identity,
    ),
    ("protocols::http2_arrives", http2_arrives),
    (
        "protocols::undeclared_http_is_detected",
        undeclared_http_is_detected,
    ),
    ("protocols::tcp_is_carried", tcp_is_carried),
    (
        "protocols::the_server_may_speak_first",
        the_server_may_speak_first,
    ),
    (
        "protocols::both_sides_count_requests",
        both_sides_count_requests,
    ),
];

fn http1_arrives_with_its_identity(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let (status, body) = echo.status(&echo.client, &["http://server.echo/path?q=1"])?;
    ensure!(
        status == 200 && body.contains("server.echo"),
        "status {status}: {body}"
    );
    ensure!(
        body.contains("spiffe://cluster.local/ns/echo/sa/client"),
        "no x-forwarded-client-cert: {body}"
    );
    ensure!(
        !body.contains("x-envoy-peer-metadata"),
        "the peer's metadata reached the application: {body}"
    );
    Ok(())
}

fn http2_arrives(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let (status, body) = echo.status(&echo.client, &["--http2", "http://server.echo:8082/"])?;
    ensure!(
        status == 200 && body.contains("HTTP/2"),
        "status {status}: {body}"
    );
    Ok(())
}

fn undeclared_http_is_detected(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let (status, body) = echo.status(&echo.client, &["http://server.echo:8090/"])?;
    ensure!(status == 200, "status {status}: {body}");
    ensure!(
        body.contains("x-request-id"),
        "it was carried as TCP, not as HTTP: {body}"
    );
    Ok(())
}

fn tcp_is_carried(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let ran = echo.run(&echo.client, &["tcp", "server.echo:9000", "over and out"])?;
    ensure!(ran.stdout.trim() == "over and out", "{ran:?}");
    Ok(())
}

fn the_server_may_speak_first(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    for port in ["9001", "9091"] {
        let ran = echo.run(
            &echo.client,
            &["tcp", &format!("server.echo:{port}"), "hello"],
        )?;
        ensure!(
            ran.stdout.contains("220 meshecho ready") && ran.stdout.contains("hello"),
            "port {port}: {ran:?}"
        );
    }
    Ok(())
}

fn both_sides_count_requests(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let parts = |reporter: &'static str| {
        [
            "istio_requests_total{",
            reporter,
            "source_workload=\"client\"",
            "source_principal=\"spiffe://cluster.local/ns/echo/sa/client\"",
            "destination_workload=\"server\"",
            "destination_service=\"server.echo.svc.cluster.local\"",
            "response_code=\"418\"",
            "connection_security_policy=",
        ]
    };
    let (source, destination) = (
        parts("reporter=\"source\""),
        parts("reporter=\"destination\""),
    );
    let before = (
        echo.metric(&echo.client, &source)?,
        echo.metric(&echo.server, &destination)?,
    );
    for _ in 0..5 {
        echo.status(&echo.client, &["http://server.echo/status/418"])?;
    }
    let after = (
        echo.metric(&echo.client, &source)?,
        echo.metric(&echo.server, &destination)?,
    );
    ensure!(
        after.0 - before.0 == 5.0,
        "the client's side counted {} of 5",
        after.0 - before.0
    );
    ensure!(
        after.1 - before.1 == 5.0,
        "the server's side counted {} of 5",
        after.1 - before.1
    );
    Ok(())
}
