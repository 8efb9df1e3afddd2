//! Traffic while pods, the control plane and certificates come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Mesh, Test};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "resilience::rollouts_and_a_killed_pod_lose_no_request",
        rollouts_and_a_killed_pod_lose_no_request,
    ),
    (
        "resilience::a_killed_control_plane_loses_no_request",
        a_killed_control_plane_loses_no_request,
    ),
    (
        "resilience::rotating_certificates_lose_no_request",
        rotating_certificates_lose_no_request,
    ),
];

const REVIEWS: [&str; 3] = ["reviews-v1", "reviews-v2", "reviews-v3"];
pub(super) const SYSTEM: &str = "istio-system";

fn rollouts_and_a_killed_pod_lose_no_request(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    platform.scale("default", "ratings-v1", 2)?;
    let outcome = mesh.under_load(mesh.pace.requests_per_second, |load| {
        load.wait_for(100)?;
        for _ in 0..2 {
            for deployment in REVIEWS {
                platform.rollout_restart("default", deployment)?;
            }
        }
        let ratings = platform.pods("default", "ratings")?;
        platform.kill(
            ratings
                .iter()
                .find(|pod| pod.ready)
                .context("no ratings pod")?,
        )?;
        load.wait_for(mesh.pace.rollout_requests)
    });
    platform.scale("default", "ratings-v1", 1)?;
    let outcome = outcome?;
    ensure!(
        outcome.sent >= mesh.pace.rollout_requests,
        "only {} requests were sent",
        outcome.sent
    );
    outcome.assert_none_failed()
}

fn a_killed_control_plane_loses_no_request(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    let outcome = mesh.under_load(mesh.pace.requests_per_second / 2, |load| {
        load.wait_for(100)?;
        let istiod = platform.pods(SYSTEM, "istiod")?;
        platform.kill(istiod.first().context("no istiod pod")?)?;
        platform.scale(SYSTEM, "istiod", 0)?;
        std::thread::sleep(mesh.pace.outage);
        platform.scale(SYSTEM, "istiod", 1)?;
        platform.scale("default", "details-v1", 2)?;
        let pods = platform.pods("default", "details")?;
        let productpage = platform.pods("default", "productpage")?;
        let client = productpage.first().context("no productpage")?;
        let new = pods
            .iter()
            .max_by_key(|pod| pod.ip.clone())
            .context("no details pod")?;
        eventually_true(
            "productpage knows the new endpoint",
            Duration::from_secs(2),
            || {
                let endpoints = platform.proxy_config("endpoints", client)?.to_string();
                Ok(pods.iter().all(|pod| endpoints.contains(&pod.ip)) && !new.ip.is_empty())
            },
        )
    });
    platform.scale("default", "details-v1", 1)?;
    outcome?.assert_none_failed()
}

/// A mesh configuration with which certificates live one minute.
pub(super) const ONE_MINUTE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    defaultConfig:
      proxyMetadata: {SECRET_TTL: 1m}
";

fn rotating_certificates_lose_no_request(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    mesh.with_text(ONE_MINUTE, || {
        for deployment in ["productpage-v1", "details-v1", "ratings-v1"]
            .iter()
            .chain(&REVIEWS)
        {
            platform.rollout_restart("default", deployment)?;
        }
        let mut serials = BTreeSet::new();
        let outcome = mesh.under_load(mesh.pace.requests_per_second / 4, |_| {
            let end = Instant::now() + mesh.pace.rotation;
            while Instant::now() < end {
                std::thread::sleep(Duration::from_secs(5));
                let pods = platform.pods("default", "productpage")?;
                let pod = pods
                    .iter()
                    .find(|pod| pod.ready)
                    .context("no productpage")?;
                serials.insert(serial(&platform.proxy_config("secret", pod)?)?);
            }
            Ok(())
        })?;
        // Renewed at half-life: at least once in each whole minute.
        let wanted = usize::try_from(mesh.pace.rotation.as_secs() / 60)? + 1;
        ensure!(
            serials.len() >= wanted,
            "only {} certificates in {:?}",
            serials.len(),
            mesh.pace.rotation
        );
        outcome.assert_none_failed()
    })
}

/// The workload certificate's serial number.
pub(super) fn serial(certs: &Value) -> anyhow::Result<String> {
    let list = certs["certificates"]
        .as_array()
        .context("no certificates")?;
    let serial = list
        .iter()
        .find_map(|entry| entry["cert_chain"][0]["serial_number"].as_str());
    Ok(serial.context("no workload certificate")?.to_owned())
}
