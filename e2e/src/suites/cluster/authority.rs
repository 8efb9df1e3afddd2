//! The mesh gets a new root under load, and nothing is restarted for it.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::deadline::eventually;
use crate::platform::kubernetes::kubectl;
use crate::platform::{Platform, Pod};
use crate::suites::Mesh;
use crate::suites::resilience::{ONE_MINUTE, SYSTEM, serial};

/// Long enough for proxies whose certificates live a minute to renew them, and learn of the root.
const PROPAGATION: Duration = Duration::from_secs(45);
/// From the new authority's first signature to the last renewal, at half a minute of life.
const RENEWED_WITHIN: Duration = Duration::from_secs(90);

const APPS: [(&str, &str); 5] = [
    (SYSTEM, "istio-ingressgateway"),
    ("default", "productpage"),
    ("default", "details"),
    ("default", "ratings"),
    ("default", "reviews"),
];

pub(super) fn a_new_root_loses_no_request(mesh: &Mesh) -> anyhow::Result<()> {
    let hurry = format!(
        r#"[{{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--root-propagation={}s"}}]"#,
        PROPAGATION.as_secs()
    );
    let deployment = ["deployment/istiod", "-n", SYSTEM];
    kubectl::checked(&[&["patch", "--type=json", "-p", &hurry], &deployment[..]].concat())?;
    let wait = [&["rollout", "status", "--timeout=2m"], &deployment[..]].concat();
    kubectl::checked(&wait)?;
    let rotated = mesh.with_text(ONE_MINUTE, || rotate(mesh));
    kubectl::checked(&[&["rollout", "undo"], &deployment[..]].concat())?;
    kubectl::checked(&wait)?;
    rotated
}

fn rotate(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &*mesh.platform;
    for (namespace, app) in APPS {
        restart(namespace, &format!("app={app}"))?;
    }
    let outcome = mesh.under_load(mesh.pace.requests_per_second, |load| {
        load.wait_for(100)?;
        replace_root(platform)?;
        load.wait_for(load.sent() + 100)
    });
    outcome?.assert_none_failed()
}

/// New pods, whose certificates live a minute.
fn restart(namespace: &str, label: &str) -> anyhow::Result<()> {
    let of = ["deployment", "-n", namespace, "-l", label];
    kubectl::checked(&[&["rollout", "restart"], &of[..]].concat())?;
    kubectl::checked(&[&["rollout", "status", "--timeout=2m"], &of[..]].concat()).map(drop)
}

/// Asks for a new root, and waits until every certificate is of it.
fn replace_root(platform: &dyn Platform) -> anyhow::Result<()> {
    let old = signing()?;
    let rotate = "mesh.citadel/rotate-root=now";
    kubectl::checked(&[
        "annotate",
        "secret",
        "istio-ca-secret",
        "-n",
        SYSTEM,
        rotate,
    ])?;
    eventually("the new root signs", PROPAGATION * 2, || {
        ensure!(signing()? != old, "the old one does");
        Ok(())
    })?;
    let before = proxies(platform)?;
    let renewed = eventually("every certificate is renewed", RENEWED_WITHIN, || {
        let now = proxies(platform)?;
        let old = |serial: &String| before.iter().any(|(_, old)| old == serial);
        let kept = now.iter().find(|(_, serial)| old(serial));
        ensure!(kept.is_none(), "{kept:?} has its old one");
        Ok(now)
    })?;
    let restarted = |(pod, _): &&(Pod, String)| pod.restarts > 0;
    let restarted = renewed.iter().find(restarted);
    ensure!(restarted.is_none(), "{restarted:?} was restarted");
    Ok(())
}

/// Every proxy on the page's way, with its certificate's serial number.
fn proxies(platform: &dyn Platform) -> anyhow::Result<Vec<(Pod, String)>> {
    let mut found = Vec::new();
    for (namespace, app) in APPS {
        for pod in platform.pods(namespace, app)? {
            let serial = serial(&platform.proxy_config("secret", &pod)?)?;
            found.push((pod, serial));
        }
    }
    Ok(found)
}

/// The root under which workload certificates are signed now.
fn signing() -> anyhow::Result<String> {
    let template = r#"{{index .data "roots.json" | base64decode}}"#;
    let template = format!("--template={template}");
    let text = kubectl::checked(&["get", "secret", "citadel-trust", "-n", SYSTEM, &template])?;
    let roots: Vec<Value> = serde_json::from_str(&text)?;
    let now = roots.iter().find(|root| root["signs"] == "now");
    let root = now.context("no root signs")?["certificate"].as_str();
    Ok(root.context("a root without certificate")?.to_owned())
}
