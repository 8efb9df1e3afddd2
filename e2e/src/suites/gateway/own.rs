//! A user's own gateway: injected from the gateway template, with Gateways and routes of its own.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::super::echo::{self, Echo};
use super::super::{Mesh, SOON};
use crate::deadline::eventually;

/// The template's readiness probe asks only every 15 s: ready before that means that the start is
/// watched more closely.
const READY_WITHIN: Duration = Duration::from_secs(12);

const OWN: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: own}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: own}
spec:
  selector: {app: edge}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: own}
spec:
  selector: {matchLabels: {app: edge}}
  template:
    metadata:
      annotations: {inject.istio.io/templates: gateway}
      labels: {app: edge, istio: own-edge, sidecar.istio.io/inject: 'true'}
    spec:
      containers: [{name: istio-proxy, image: auto}]
";

/// `GATEWAYS`: what the rule for the server's own host is bound to.
const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: own}
spec:
  selector: {istio: own-edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [only.example, server.echo.svc.cluster.local]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: only, namespace: own}
spec:
  hosts: [only.example]
  gateways: [edge]
  http: [{route: [{destination: {host: server.echo.svc.cluster.local, port: {number: 80}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: own}
spec:
  hosts: [server.echo.svc.cluster.local]
  gateways: GATEWAYS
  http:
    - headers: {request: {set: {x-ruled: 'yes'}}}
      route: [{destination: {host: server.echo.svc.cluster.local, port: {number: 80}}}]
";

const UNSERVED: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: nobody, namespace: own}
spec:
  selector: {istio: nobody}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [nobody.example]}]
";

/// It is ready soon, serves the hosts of its Gateways alone, and rules reach the mesh only when
/// bound to `mesh`; a Gateway that no pod serves is named.
pub(super) fn starts_soon_and_serves_its_hosts(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    mesh.with_text(OWN, || {
        eventually("the gateway is ready", READY_WITHIN, || {
            let pods = mesh.platform.pods("own", "edge")?;
            let ready = pods.into_iter().find(|pod| pod.ready);
            ready.context("no ready pod")
        })?;
        let to_gateway = ROUTES.replace("GATEWAYS", "[edge]");
        mesh.with_text(&to_gateway, || {
            eventually("its hosts are served", SOON, || {
                let (status, body) = by_edge(&echo, "only.example")?;
                ensure!(status == 200, "status {status}: {body}");
                ensure!(ruled(&by_edge(&echo, SERVER)?)?, "the rule has no effect");
                Ok(())
            })?;
            let (status, body) = by_edge(&echo, "other.example")?;
            ensure!(status == 404, "status {status}: {body}");
            let in_mesh = || ruled(&echo.status(&echo.client, &["http://server.echo/"])?);
            ensure!(!in_mesh()?, "the rule is in force in the mesh");
            mesh.platform
                .apply_text(&ROUTES.replace("GATEWAYS", "[edge, mesh]"))?;
            eventually("the rule is in force in the mesh", SOON, || {
                ensure!(in_mesh()?, "it isn't");
                Ok(())
            })?;
            ensure!(ruled(&by_edge(&echo, SERVER)?)?, "the gateway forgot it");
            Ok(())
        })?;
        mesh.with_text(UNSERVED, || {
            eventually("the unserved Gateway is named", SOON, || {
                let findings = mesh.platform.meshctl(&["analyze"])?.printed();
                let named = ["own/nobody", "spec.selector", "istio=nobody"];
                ensure!(
                    named.iter().all(|text| findings.contains(text)),
                    "{findings}"
                );
                Ok(())
            })
        })
    })
}

const SERVER: &str = "server.echo.svc.cluster.local";

/// `host`, asked of the gateway by somebody outside the mesh.
fn by_edge(echo: &Echo<'_>, host: &str) -> anyhow::Result<(u16, String)> {
    let header = format!("host: {host}");
    echo.status(&echo.outside_client, &["-H", &header, "http://edge.own/"])
}

/// Whether a server that answered had been sent the rule's header.
fn ruled((status, body): &(u16, String)) -> anyhow::Result<bool> {
    ensure!(*status == 200, "status {status}: {body}");
    Ok(body.to_lowercase().contains("x-ruled"))
}
