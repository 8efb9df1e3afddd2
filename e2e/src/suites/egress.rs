//! Hosts that the mesh does not know.

use anyhow::ensure;

use super::{LIVE_WITHIN, Mesh, Test, echo};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "egress::allow_any_passes_unknown_hosts_through",
        allow_any_passes_unknown_hosts_through,
    ),
    (
        "egress::registry_only_answers_502",
        registry_only_answers_502,
    ),
    (
        "egress::a_service_entry_makes_a_host_known",
        a_service_entry_makes_a_host_known,
    ),
];

const REGISTRY_ONLY: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: echo}
spec:
  egress: [{hosts: ['*/*']}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
";

fn allow_any_passes_unknown_hosts_through(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let ip = &echo.outside_server.ip;
    let known_as = [
        "destination_service_name=\"PassthroughCluster\"",
        "reporter=\"source\"",
    ];
    for (port, metric) in [
        ("80", "istio_requests_total{"),
        ("8080", "istio_tcp_connections_opened_total{"),
    ] {
        let parts = [&[metric], &known_as[..]].concat();
        let before = echo.metric(&echo.client, &parts)?;
        let (status, body) = echo.status(&echo.client, &[&format!("http://{ip}:{port}/")])?;
        ensure!(
            status == 200 && body.contains("server.outside"),
            "port {port}: {status} {body}"
        );
        let after = echo.metric(&echo.client, &parts)?;
        ensure!(
            after - before == 1.0,
            "port {port}: {metric} grew by {}",
            after - before
        );
    }
    Ok(())
}

fn registry_only_answers_502(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let ip = &echo.outside_server.ip;
    mesh.with_text(REGISTRY_ONLY, || {
        for port in ["80", "8080"] {
            let url = format!("http://{ip}:{port}/");
            eventually_true(
                &format!("port {port} of an unknown host answers 502"),
                LIVE_WITHIN,
                || Ok(echo.status(&echo.client, &[&url])?.0 == 502),
            )?;
        }
        let parts = [
            "istio_requests_total{",
            "destination_service_name=\"BlackHoleCluster\"",
            "response_code=\"502\"",
        ];
        ensure!(
            echo.metric(&echo.client, &parts)? >= 2.0,
            "the refusals were not counted as BlackHoleCluster's"
        );
        ensure!(
            echo.status(&echo.client, &["http://server.echo/"])?.0 == 200,
            "a known host was refused"
        );
        Ok(())
    })
}

fn a_service_entry_makes_a_host_known(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: external, namespace: echo}}\n\
         spec:\n  hosts: [api.example.com]\n  addresses: [240.0.0.10]\n  resolution: STATIC\n\
         \x20 location: MESH_EXTERNAL\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n\
         \x20 endpoints: [{{address: {}}}]\n",
        echo.outside_server.ip
    );
    let both = format!("{REGISTRY_ONLY}---\n{entry}");
    mesh.with_text(&both, || {
        eventually_true("the registered host answers", LIVE_WITHIN, || {
            let host = ["-H", "host: api.example.com", "http://240.0.0.10/"];
            let (status, body) = echo.status(&echo.client, &host)?;
            Ok(status == 200 && body.contains("server.outside"))
        })?;
        let parts = [
            "istio_requests_total{",
            "destination_service=\"api.example.com\"",
            "response_code=\"200\"",
        ];
        ensure!(
            echo.metric(&echo.client, &parts)? >= 1.0,
            "it was not counted under its host"
        );
        Ok(())
    })
}
