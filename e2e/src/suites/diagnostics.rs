//! What `meshctl` tells of a mesh.

use anyhow::{Context, ensure};

use super::{LIVE_WITHIN, Mesh, Test};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    ("diagnostics::every_proxy_is_synced", every_proxy_is_synced),
    (
        "diagnostics::proxy_config_shows_what_a_proxy_has",
        proxy_config_shows_what_a_proxy_has,
    ),
];

fn every_proxy_is_synced(mesh: &Mesh) -> anyhow::Result<()> {
    eventually_true("all seven proxies are synced", LIVE_WITHIN * 2, || {
        let status = mesh.platform.proxy_status()?;
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
