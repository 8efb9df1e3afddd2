//! What `meshctl` tells of a mesh.

use anyhow::{Context, ensure};

use super::{LIVE_WITHIN, Mesh, Test};
use crate::bookinfo::{page, visit};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    ("diagnostics::every_proxy_is_synced", every_proxy_is_synced),
    (
        "diagnostics::proxy_config_shows_what_a_proxy_has",
        proxy_config_shows_what_a_proxy_has,
    ),
    (
        "diagnostics::a_refusal_is_shown_and_the_last_good_configuration_stays",
        a_refusal_is_shown_and_the_last_good_configuration_stays,
    ),
];

/// A value that the control plane passes on, and that no proxy of ours can compile.
const ODD: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: odd, namespace: default}
spec:
  hosts: [details]
  http:
    - headers: {response: {set: {x-odd: '%NOPE%'}}}
      route: [{destination: {host: details}}]
";

fn a_refusal_is_shown_and_the_last_good_configuration_stays(mesh: &Mesh) -> anyhow::Result<()> {
    let within = LIVE_WITHIN * 5;
    let refusals = || -> anyhow::Result<usize> {
        let status = mesh.platform.meshctl_json(&["proxy-status"])?;
        let proxies = status.as_array().context("no list")?.iter();
        let nacks = proxies.filter_map(|proxy| proxy["routes"]["nack"]["message"].as_str());
        Ok(nacks.filter(|why| why.contains("%NOPE%")).count())
    };
    mesh.with_text(ODD, || {
        eventually_true("proxies refuse the route by name", within, || {
            Ok(refusals()? > 0)
        })?;
        let pages = visit(mesh.platform.ingress(), &page(), 5)?;
        ensure!(pages.len() == 5, "{pages:?}");
        Ok(())
    })?;
    eventually_true("nothing is refused any more", within, || {
        Ok(refusals()? == 0)
    })
}

fn every_proxy_is_synced(mesh: &Mesh) -> anyhow::Result<()> {
    eventually_true("all seven proxies are synced", LIVE_WITHIN * 2, || {
        let status = mesh.platform.meshctl_json(&["proxy-status"])?;
        let proxies = status.as_array().context("no list")?;
        let synced = |proxy: &serde_json::Value| {
            ["clusters", "listeners", "endpoints"]
                .iter()
                .all(|kind| proxy[kind]["status"] == "SYNCED")
        };
        ensure!(proxies.len() >= 7, "{} proxies are known", proxies.len());
        ensure!(proxies.iter().all(synced), "not all are synced: {status}");
        let versions = proxies
            .iter()
            .all(|proxy| proxy["proxy_version"] == env!("CARGO_PKG_VERSION"));
        ensure!(versions, "not every proxy tells its version: {status}");
        Ok(true)
    })
}

fn proxy_config_shows_what_a_proxy_has(mesh: &Mesh) -> anyhow::Result<()> {
    let pods = mesh.platform.pods("default", "productpage")?;
    let pod = pods.first().context("no productpage")?;
    for (what, wanted) in [
        (
            "clusters",
            "outbound|9080|v3|reviews.default.svc.cluster.local",
        ),
        ("listeners", "virtualInbound"),
        ("routes", "reviews.default.svc.cluster.local:9080"),
        (
            "endpoints",
            "outbound|9080||details.default.svc.cluster.local",
        ),
        (
            "secret",
            "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
        ),
    ] {
        let shown = mesh.platform.proxy_config(what, pod)?.to_string();
        ensure!(
            shown.contains(wanted),
            "proxy-config {what} doesn't show {wanted}"
        );
    }
    Ok(())
}
