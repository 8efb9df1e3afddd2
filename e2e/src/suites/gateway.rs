//! The ingress gateway's TLS: certificates by name, clients' certificates, what it only passes on.

mod authority;
mod own;

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Mesh, SOON, Test, echo};
use crate::bookinfo::whole_page;
use crate::deadline::eventually;
use crate::http::{Call, send_blocking};
use crate::load::Load;
use authority::{Authority, Curl, Pair};

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "gateway::certificates_are_chosen_by_name_and_rotated",
        certificates_are_chosen_by_name_and_rotated,
    ),
    (
        "gateway::mutual_tls_asks_clients_for_certificates",
        mutual_tls_asks_clients_for_certificates,
    ),
    (
        "gateway::passes_tls_through_and_redirects_plaintext",
        passes_tls_through_and_redirects_plaintext,
    ),
    (
        "gateway::a_missing_secret_is_named_and_stops_nothing_else",
        a_missing_secret_is_named_and_stops_nothing_else,
    ),
    (
        "gateway::an_own_gateway_starts_soon_and_serves_its_hosts",
        own::starts_soon_and_serves_its_hosts,
    ),
];

/// A changed Secret must be served by then.
const ROTATED_WITHIN: Duration = Duration::from_secs(5);

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: secure, namespace: istio-system}
spec:
  hosts: [a.example, b.example]
  gateways: [secure]
  http: [{route: [{destination: {host: server.echo.svc.cluster.local, port: {number: 80}}}]}]
";

/// A Gateway `secure` with a server for each of `servers`: name, host, and its `tls`.
fn gateway(servers: &[(&str, &str, &str)]) -> String {
    let servers = servers.iter().map(|(name, host, tls)| {
        let protocol = if tls.contains("PASSTHROUGH") { "TLS" } else { "HTTPS" };
        format!("    - {{port: {{number: 443, name: {name}, protocol: {protocol}}}, hosts: [{host}], tls: {tls}}}\n")
    });
    let servers: String = servers.collect();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: secure, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{servers}---{ROUTES}"
    )
}

fn certificates_are_chosen_by_name_and_rotated(mesh: &Mesh) -> anyhow::Result<()> {
    let Some(curl) = Curl::new(mesh)? else {
        return Ok(());
    };
    let _echo = echo::start(mesh)?;
    let (of_a, of_b, next) = (Authority::new()?, Authority::new()?, Authority::new()?);
    let gateway = gateway(&[
        (
            "https-a",
            "a.example",
            "{mode: SIMPLE, credentialName: cert-a}",
        ),
        (
            "https-b",
            "b.example",
            "{mode: SIMPLE, credentialName: cert-b}",
        ),
    ]);
    let secrets = |a: &Authority, b: &Authority| -> anyhow::Result<String> {
        let (a, b) = (a.issue("a.example")?, b.issue("b.example")?);
        Ok(a.secret("cert-a", None) + &b.secret("cert-b", None))
    };
    let first = secrets(&of_a, &of_b)?;
    mesh.with_text(&first, || {
        mesh.with_text(&gateway, || {
            let trusts =
                |host: &str, authority: &Authority| curl.get(host, "/", Some(authority), None, &[]);
            eventually("both certificates are served", SOON, || {
                trusts("a.example", &of_a)?.expect_status("200")?;
                trusts("b.example", &of_b)?.expect_status("200")
            })?;
            trusts("a.example", &of_b)?.expect_refused()?;
            let http1 = curl.get("a.example", "/", Some(&of_a), None, &["--http1.1"])?;
            ensure!(http1.version == "1.1", "{http1:?}");
            let http2 = curl.get("a.example", "/", Some(&of_a), None, &["--http2"])?;
            ensure!(http2.version == "2", "{http2:?}");
            // Rotation loses no request of those who come by the other door.
            let call = Call::get("/productpage");
            let load = Load::start(mesh.platform.ingress(), call, 10, whole_page);
            mesh.platform.apply_text(&secrets(&next, &of_b)?)?;
            eventually("the new certificate is served", ROTATED_WITHIN, || {
                trusts("a.example", &next)?.expect_status("200")
            })?;
            trusts("b.example", &of_b)?.expect_status("200")?;
            load.finish()?.assert_none_failed()
        })
    })
}

fn mutual_tls_asks_clients_for_certificates(mesh: &Mesh) -> anyhow::Result<()> {
    let Some(curl) = Curl::new(mesh)? else {
        return Ok(());
    };
    let _echo = echo::start(mesh)?;
    let (ours, clients, strangers) = (Authority::new()?, Authority::new()?, Authority::new()?);
    let secret = ours
        .issue("a.example")?
        .secret("cert-mutual", Some(&clients));
    let gateway = gateway(&[(
        "https-a",
        "a.example",
        "{mode: MUTUAL, credentialName: cert-mutual}",
    )]);
    mesh.with_text(&secret, || {
        mesh.with_text(&gateway, || {
            let known: Pair = clients.issue("client")?;
            let stranger: Pair = strangers.issue("client")?;
            let with = |pair: Option<&Pair>| curl.get("a.example", "/", Some(&ours), pair, &[]);
            eventually("a known client is served", SOON, || {
                with(Some(&known))?.expect_status("200")
            })?;
            with(None)?.expect_refused()?;
            with(Some(&stranger))?.expect_refused()
        })
    })
}

const PASSTHROUGH_ROUTE: &str = "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passthrough, namespace: istio-system}
spec:
  hosts: [p.example]
  gateways: [secure]
  tls:
    - match: [{port: 443, sniHosts: [p.example]}]
      route: [{destination: {host: server.echo.svc.cluster.local, port: {number: 8443}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: redirect, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http-redirect, protocol: HTTP}, hosts: [a.example], tls: {httpsRedirect: true}}]
";

fn passes_tls_through_and_redirects_plaintext(mesh: &Mesh) -> anyhow::Result<()> {
    let Some(curl) = Curl::new(mesh)? else {
        return Ok(());
    };
    let _echo = echo::start(mesh)?;
    let gateway = gateway(&[("tls-p", "p.example", "{mode: PASSTHROUGH}")]) + PASSTHROUGH_ROUTE;
    mesh.with_text(&gateway, || {
        eventually("TLS is passed through", SOON, || {
            let answer = curl.get("p.example", "/through", None, None, &["--insecure"])?;
            answer.expect_status("200")?;
            ensure!(answer.body.contains("server.echo"), "{answer:?}");
            // Nobody could look inside: no proxy has added a header.
            ensure!(!answer.body.contains("x-request-id"), "{answer:?}");
            Ok(())
        })?;
        curl.get("q.example", "/", None, None, &["--insecure"])?
            .expect_refused()?;
        eventually("plaintext is redirected", SOON, || {
            let call = Call::get("/some/where").header("host", "a.example");
            let answer = send_blocking(mesh.platform.ingress(), &call)?;
            let location = answer.headers.get("location").context("no location")?;
            ensure!(
                answer.status == 301 && location == "https://a.example/some/where",
                "{answer:?}"
            );
            Ok(())
        })
    })
}

fn a_missing_secret_is_named_and_stops_nothing_else(mesh: &Mesh) -> anyhow::Result<()> {
    let Some(curl) = Curl::new(mesh)? else {
        return Ok(());
    };
    let _echo = echo::start(mesh)?;
    let authority = Authority::new()?;
    let secret = authority.issue("a.example")?.secret("cert-a", None);
    let gateway = gateway(&[
        (
            "https-a",
            "a.example",
            "{mode: SIMPLE, credentialName: cert-a}",
        ),
        (
            "https-b",
            "b.example",
            "{mode: SIMPLE, credentialName: cert-missing}",
        ),
    ]);
    mesh.with_text(&secret, || {
        mesh.with_text(&gateway, || {
            eventually("the other server works", SOON, || {
                let answer = curl.get("a.example", "/", Some(&authority), None, &[])?;
                answer.expect_status("200")
            })?;
            let answer = curl.get("b.example", "/", None, None, &["--insecure"])?;
            answer.expect_refused()?;
            eventually("the missing Secret is named", SOON, || {
                let findings = mesh.platform.meshctl(&["analyze"])?.printed();
                ensure!(findings.contains("cert-missing"), "{findings}");
                Ok(())
            })
        })
    })
}
