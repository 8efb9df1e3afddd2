//! DestinationRules: who is picked, who is left out, and how much may be asked at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::echo::{self, Echo};
use super::{Mesh, SOON, Test};
use crate::deadline::eventually;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "destinations::requests_are_spread_over_the_pods",
        requests_are_spread_over_the_pods,
    ),
    (
        "destinations::the_same_key_finds_the_same_pod",
        the_same_key_finds_the_same_pod,
    ),
    (
        "destinations::a_failing_pod_is_left_out_for_a_while",
        a_failing_pod_is_left_out_for_a_while,
    ),
    (
        "destinations::what_is_too_much_is_refused_and_ejects_nobody",
        what_is_too_much_is_refused_and_ejects_nobody,
    ),
];

const START_WITHIN: Duration = Duration::from_secs(60);
const PODS: usize = 3;

const POOL: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: pool, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: pool, namespace: pool}
spec:
  selector: {app: pool}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pool, namespace: pool}
spec:
  replicas: 3
  selector: {matchLabels: {app: pool}}
  template:
    metadata: {labels: {app: pool}}
    spec:
      containers:
        - name: pool
          image: mesh/echo:latest
          imagePullPolicy: IfNotPresent
          args: [serve, --http, '8080']
          env: [{name: HOSTNAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
";

fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: pool, namespace: pool}}\n\
         spec: {{host: pool.pool.svc.cluster.local, trafficPolicy: {policy}}}\n"
    )
}

/// Runs `test` with three pods that the client's proxy knows.
fn with_pool(
    mesh: &Mesh,
    test: impl FnOnce(&Echo<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    mesh.with_text(POOL, || {
        eventually("all pods answer", START_WITHIN, || {
            let found = spread(&echo, 12)?;
            ensure!(found.len() == PODS, "{found:?}");
            Ok(())
        })?;
        test(&echo)
    })
}

/// Runs `test` with `policy`; `live` tells that it is in force.
fn with_policy(
    mesh: &Mesh,
    policy: &str,
    live: impl Fn() -> anyhow::Result<()>,
    test: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    mesh.with_text(&rule(policy), || {
        eventually("the policy is in force", SOON, live)?;
        test()
    })
}

/// The name of the pod that answers, and the answer.
fn pod(echo: &Echo<'_>, arguments: &[&str]) -> anyhow::Result<(String, String)> {
    let (_, text) = echo.status(&echo.client, arguments)?;
    let name = text.split("\"name\":\"").nth(1);
    let name = name.and_then(|rest| rest.split('"').next());
    let name = name.with_context(|| format!("no name in {text}"))?;
    Ok((name.to_owned(), text))
}

fn spread(echo: &Echo<'_>, requests: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for _ in 0..requests {
        *found
            .entry(pod(echo, &["http://pool.pool/"])?.0)
            .or_default() += 1;
    }
    Ok(found)
}

fn requests_are_spread_over_the_pods(mesh: &Mesh) -> anyhow::Result<()> {
    with_pool(mesh, |echo| {
        for algorithm in ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"] {
            let policy = format!("{{loadBalancer: {{simple: {algorithm}}}}}");
            mesh.with_text(&rule(&policy), || {
                let found = spread(echo, 30)?;
                // At random one pod of three gets none of 30 once in 64,000 times.
                ensure!(found.len() == PODS, "{algorithm}: {found:?}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn the_same_key_finds_the_same_pod(mesh: &Mesh) -> anyhow::Result<()> {
    with_pool(mesh, |echo| {
        let of = |arguments: &[&str]| pod(echo, arguments).map(|(name, _)| name);
        let stays = |arguments: &[&str]| {
            let pods: BTreeSet<String> = (0..8)
                .map(|_| of(arguments))
                .collect::<anyhow::Result<_>>()?;
            ensure!(pods.len() == 1, "{arguments:?} went to {pods:?}");
            Ok(())
        };
        let header = ["-H", "x-user: a", "http://pool.pool/"];
        let hash = |by: &str| format!("{{loadBalancer: {{consistentHash: {{{by}}}}}}}");
        let by_header = hash("httpHeaderName: x-user");
        with_policy(
            mesh,
            &by_header,
            || stays(&header),
            || {
                let users = (0..20).map(|user| {
                    let header = format!("x-user: {user}");
                    of(&["-H", &header, "http://pool.pool/"])
                });
                let pods: BTreeSet<String> = users.collect::<anyhow::Result<_>>()?;
                ensure!(pods.len() > 1, "all users went to {pods:?}");
                Ok(())
            },
        )?;
        let query = ["http://pool.pool/?user=a"];
        let by_query = hash("httpQueryParameterName: user");
        with_policy(mesh, &by_query, || stays(&query), || Ok(()))?;
        let plain = ["http://pool.pool/"];
        let by_source = hash("useSourceIp: true");
        with_policy(mesh, &by_source, || stays(&plain), || Ok(()))?;
        let by_cookie = hash("httpCookie: {name: stick, ttl: 60s}");
        let given = || {
            let (_, text) = pod(echo, &plain)?;
            let cookie = text
                .lines()
                .find_map(|line| line.strip_prefix("set-cookie: "));
            let cookie = cookie.context("no cookie is given")?;
            ensure!(
                cookie.starts_with("stick=") && cookie.contains("Max-Age=60"),
                "{cookie}"
            );
            Ok(())
        };
        let with_cookie = ["-H", "cookie: stick=\"abc\"", "http://pool.pool/"];
        with_policy(mesh, &by_cookie, given, || stays(&with_cookie))
    })
}

fn a_failing_pod_is_left_out_for_a_while(mesh: &Mesh) -> anyhow::Result<()> {
    with_pool(mesh, |echo| {
        let policy = "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}, \
             outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 4s, maxEjectionPercent: 100}}";
        let key = ["-H", "x-user: a"];
        let ask = |url: &str| pod(echo, &[&key[..], &[url]].concat()).map(|(name, _)| name);
        let settled = || {
            let first = ask("http://pool.pool/")?;
            for _ in 0..6 {
                let again = ask("http://pool.pool/")?;
                ensure!(first == again, "{first}, then {again}");
            }
            Ok(())
        };
        with_policy(mesh, policy, settled, || {
            let first = ask("http://pool.pool/")?;
            for _ in 0..3 {
                let failing = ask("http://pool.pool/status/500")?;
                ensure!(failing == first, "{failing} is not {first}");
            }
            let next = ask("http://pool.pool/")?;
            ensure!(next != first, "{first} still answers after three failures");
            let endpoints = mesh.platform.proxy_config("endpoints", &echo.client)?;
            ensure!(
                endpoints
                    .to_string()
                    .contains("\"failed_outlier_check\":true"),
                "no ejection is shown"
            );
            eventually("the pod is back", SOON, || {
                let now = ask("http://pool.pool/")?;
                ensure!(now == first, "{now} answers for {first}");
                Ok(())
            })
        })
    })
}

fn what_is_too_much_is_refused_and_ejects_nobody(mesh: &Mesh) -> anyhow::Result<()> {
    with_pool(mesh, |echo| {
        let policy = "{connectionPool: {http: {http2MaxRequests: 1}}, \
             outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}}";
        let at_once = || {
            std::thread::scope(|scope| {
                let ask = || {
                    let answer = echo.status(&echo.client, &["http://pool.pool/delay/800"])?;
                    anyhow::Ok(answer.0)
                };
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
                let ended = threads.into_iter().map(|thread| {
                    let status = thread.join();
                    status.map_err(|_| anyhow::anyhow!("a client panicked"))?
                });
                ended.collect::<anyhow::Result<Vec<u16>>>()
            })
        };
        let refused = || {
            let statuses = at_once()?;
            let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
            ensure!(
                count(200) >= 1 && count(503) >= 3 && count(200) + count(503) == 6,
                "{statuses:?}"
            );
            Ok(())
        };
        with_policy(mesh, policy, refused, || {
            let log = mesh.platform.logs(&echo.client, "istio-proxy")?;
            let overflow = log
                .lines()
                .any(|line| line.contains("/delay/800") && line.contains(" 503 UO "));
            ensure!(overflow, "no line of the access log says UO");
            let found = spread(echo, 30)?;
            ensure!(found.len() == PODS, "somebody was ejected: {found:?}");
            Ok(())
        })
    })
}
