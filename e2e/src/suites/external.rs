//! Hosts that no ClusterIP service stands for: ServiceEntries, headless and external names, and
//! which of them a proxy knows.

use anyhow::{Context, ensure};

use super::echo::{self, Echo};
use super::{Mesh, SOON, Test};
use crate::deadline::eventually;
use crate::platform::Pod;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "external::service_entries_lead_to_their_endpoints",
        service_entries_lead_to_their_endpoints,
    ),
    (
        "external::tls_is_originated_and_verified",
        tls_is_originated_and_verified,
    ),
    (
        "external::services_without_an_address_of_their_own",
        services_without_an_address_of_their_own,
    ),
    (
        "external::a_sidecar_resource_narrows_what_a_proxy_knows",
        a_sidecar_resource_narrows_what_a_proxy_knows,
    ),
];

/// TEST-NET-2 (RFC 5737): nobody answers there, so an answer came from the entry's endpoint.
const NOWHERE: &str = "http://198.51.100.7/";

const ENTRIES: &str = "
apiVersion: v1
kind: Service
metadata: {name: target, namespace: outside}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: static, namespace: echo}
spec:
  hosts: [static.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: OUTSIDE, ports: {http: 8080}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dns, namespace: echo}
spec:
  hosts: [dns.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: target.outside.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: none, namespace: echo}
spec:
  hosts: [none.example]
  location: MESH_EXTERNAL
  resolution: NONE
  ports: [{number: 8090, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: machine, namespace: echo}
spec:
  hosts: [machine.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: machine}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine, namespace: echo}
spec: {address: OUTSIDE, labels: {app: machine}}
";

fn service_entries_lead_to_their_endpoints(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let outside = &echo.outside_server.ip;
    mesh.with_text(&ENTRIES.replace("OUTSIDE", outside), || {
        let direct = format!("http://{outside}:8090/");
        for (host, url) in [
            ("static.example", NOWHERE),
            ("dns.example", NOWHERE),
            ("machine.example", NOWHERE),
            ("none.example", &direct),
        ] {
            let counted = || {
                let service = format!("destination_service=\"{host}\"");
                let parts = ["istio_requests_total{", "response_code=\"200\"", &service];
                echo.metric(&echo.client, &parts)
            };
            let before = counted()?;
            eventually(&format!("{host} answers"), SOON, || {
                reaches(&echo, host, url)
            })?;
            ensure!(counted()? > before, "{host} is not counted by its name");
        }
        Ok(())
    })
}

/// `url`, asked for `host`, is answered by the server outside the mesh.
fn reaches(echo: &Echo<'_>, host: &str, url: &str) -> anyhow::Result<()> {
    let header = format!("host: {host}");
    let (status, body) = echo.status(&echo.client, &["-H", &header, url])?;
    ensure!(
        status == 200 && body.contains("server.outside"),
        "status {status}: {body}"
    );
    Ok(())
}

const ORIGINATION: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure, namespace: echo}
spec:
  hosts: [secure.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8443}]
  endpoints: [{address: OUTSIDE}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: echo}
spec:
  host: secure.example
  trafficPolicy: {tls: {mode: SIMPLE, sni: secure.example, insecureSkipVerify: SKIP}}
";

fn tls_is_originated_and_verified(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let originate = |skip: &str| {
        let text = ORIGINATION.replace("OUTSIDE", &echo.outside_server.ip);
        text.replace("SKIP", skip)
    };
    mesh.with_text(&originate("true"), || {
        eventually("HTTP leaves as HTTPS", SOON, || {
            reaches(&echo, "secure.example", NOWHERE)
        })?;
        mesh.platform.apply_text(&originate("false"))?;
        eventually("a stranger's certificate is refused", SOON, || {
            let asked = ["-H", "host: secure.example", NOWHERE];
            let (status, body) = echo.status(&echo.client, &asked)?;
            ensure!(
                status == 503 && body.contains("certificate"),
                "status {status}: {body}"
            );
            Ok(())
        })
    })
}

const NAMES: &str = "
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: echo}
spec:
  clusterIP: None
  selector: {app: server}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: target, namespace: outside}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: echo}
spec:
  type: ExternalName
  externalName: target.outside.svc.cluster.local
---
apiVersion: v1
kind: Service
metadata: {name: another, namespace: outside}
spec:
  type: ExternalName
  externalName: server.echo.svc.cluster.local
";

fn services_without_an_address_of_their_own(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    mesh.with_text(NAMES, || {
        let knows_the_client = |what: &str, arguments: &[&str]| {
            eventually(what, SOON, || {
                let (status, body) = echo.status(&echo.client, arguments)?;
                ensure!(
                    status == 200 && body.contains("spiffe://cluster.local/ns/echo/sa/client"),
                    "status {status}, mutual TLS or not: {body}"
                );
                Ok(())
            })
        };
        knows_the_client(
            "a headless service answers",
            &["http://headless.echo:8080/"],
        )?;
        // Asked for like this where the cluster's DNS knows no external names, too.
        let another = ["-H", "host: another.outside", "http://server.echo/"];
        knows_the_client("a service answers to its other name", &another)?;
        let answers = |pod: &Pod| {
            eventually("an external name answers", SOON, || {
                let (status, body) = echo.status(pod, &["http://elsewhere.echo/"])?;
                ensure!(
                    status == 200 && body.contains("server.outside"),
                    "status {status}: {body}"
                );
                Ok(())
            })
        };
        match answers(&echo.outside_client) {
            Err(error) if format!("{error:#}").contains("lookup address") => {
                #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
                {
                    eprintln!("SKIPPED: the cluster's DNS knows no ExternalName");
                }
                Ok(())
            }
            without_mesh => without_mesh.and_then(|()| answers(&echo.client)),
        }
    })
}

const SCOPE: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: echo}
spec:
  egress: [{hosts: [./*, istio-system/*]}]
";

fn a_sidecar_resource_narrows_what_a_proxy_knows(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let knows = |host: &str| -> anyhow::Result<bool> {
        let clusters = mesh.platform.proxy_config("clusters", &echo.client)?;
        Ok(clusters.to_string().contains(host))
    };
    let page = "productpage.default.svc.cluster.local";
    ensure!(knows(page)?, "{page} is unknown from the start");
    mesh.with_text(SCOPE, || {
        eventually("the page is unknown", SOON, || {
            ensure!(!knows(page)?, "{page} is still known");
            Ok(())
        })?;
        ensure!(
            knows("server.echo.svc.cluster.local")?,
            "the own namespace is unknown too"
        );
        reaches_by_name(&echo)
    })?;
    eventually("the page is known again", SOON, || {
        knows(page)?.then_some(()).context("it isn't")
    })
}

fn reaches_by_name(echo: &Echo<'_>) -> anyhow::Result<()> {
    let (status, body) = echo.status(&echo.client, &["http://server.echo/"])?;
    ensure!(status == 200, "status {status}: {body}");
    Ok(())
}
