//! VirtualServices: what leads where, and what happens on the way.

mod manifests;

use std::time::Duration;

use anyhow::{Context, ensure};

use super::echo::{self, Echo};
use super::{Mesh, SOON, Test};
use crate::deadline::eventually;
use crate::platform::Pod;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "traffic::each_kind_of_match_finds_its_requests",
        each_kind_of_match_finds_its_requests,
    ),
    ("traffic::routes_act_on_requests", routes_act_on_requests),
    ("traffic::routes_act_on_responses", routes_act_on_responses),
    (
        "traffic::connections_are_shared_by_weight",
        connections_are_shared_by_weight,
    ),
];

const START_WITHIN: Duration = Duration::from_secs(60);

/// Runs `test` with both versions ready and `routes` in force, which `live` tells.
fn with_routes(
    mesh: &Mesh,
    routes: &str,
    live: impl Fn(&Echo<'_>) -> anyhow::Result<()>,
    test: impl FnOnce(&Echo<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    mesh.with_text(&manifests::servers(), || {
        for version in ["v1", "v2"] {
            eventually(&format!("shop-{version} is ready"), START_WITHIN, || {
                server(mesh, version).map(drop)
            })?;
        }
        // Known to the client's proxy, without a route yet.
        eventually("both versions answer", START_WITHIN, || {
            let answers: Vec<String> = (0..6)
                .map(|_| answer(&echo, &["http://shop.traffic/"]))
                .collect::<Result<_, _>>()?;
            let from = |name: &str| answers.iter().any(|answer| answer.contains(name));
            ensure!(from("shop-v1") && from("shop-v2"), "{answers:?}");
            Ok(())
        })?;
        mesh.with_text(routes, || {
            eventually("the routes are in force", SOON, || live(&echo))?;
            test(&echo)
        })
    })
}

fn server(mesh: &Mesh, version: &str) -> anyhow::Result<Pod> {
    let pods = mesh.platform.pods("traffic", "shop")?;
    pods.into_iter()
        .find(|pod| pod.ready && pod.name.starts_with(&format!("shop-{version}-")))
        .context("no ready pod")
}

/// Status, head and body in one text.
fn answer(echo: &Echo<'_>, arguments: &[&str]) -> anyhow::Result<String> {
    let (_, text) = echo.status(&echo.client, arguments)?;
    Ok(text)
}

fn each_kind_of_match_finds_its_requests(mesh: &Mesh) -> anyhow::Result<()> {
    // An answer could come from v2 by chance before the routes are there.
    let live = |echo: &Echo<'_>| {
        let routes = mesh.platform.proxy_config("routes", &echo.client)?;
        ensure!(
            routes.to_string().contains("/regex[0-9]+"),
            "the client's proxy has no such route"
        );
        Ok(())
    };
    with_routes(mesh, manifests::MATCHES, live, |echo| {
        let (hit, miss) = ("shop-v2", "shop-v1");
        let root = "http://shop.traffic/";
        for (expected, arguments) in [
            (miss, &[root][..]),
            (hit, &["http://shop.traffic/exact"]),
            (miss, &["http://shop.traffic/exactly"]),
            (hit, &["http://shop.traffic/PreFix/x"]),
            (miss, &["http://shop.traffic/a/prefix"]),
            (hit, &["http://shop.traffic/regex12"]),
            (miss, &["http://shop.traffic/regex12x"]),
            (hit, &["-H", "x-exact: a", root]),
            (miss, &["-H", "x-exact: ab", root]),
            (hit, &["-H", "x-prefix: ab", root]),
            (miss, &["-H", "x-prefix: ba", root]),
            (hit, &["-H", "x-regex: abc", root]),
            (miss, &["-H", "x-regex: abcd", root]),
            (hit, &["-H", "x-present: any", root]),
            (miss, &["-H", "x-present: any", "-H", "x-absent: no", root]),
            (hit, &["-X", "PUT", root]),
            (miss, &["-X", "POST", root]),
            (hit, &["http://shop.traffic/?a=b&q=1"]),
            (miss, &["http://shop.traffic/?q=11"]),
            (hit, &["http://shop.traffic/of-client"]),
            (miss, &["http://shop.traffic/of-another"]),
            (miss, &["http://shop.traffic/from-elsewhere"]),
        ] {
            // A wrong route stays wrong; a pod that a busy machine has left unready comes back.
            eventually(&format!("{arguments:?} finds {expected}"), SOON, || {
                let answer = answer(echo, arguments)?;
                ensure!(answer.contains(expected), "{answer}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// The routes with actions answer by themselves.
fn actions_live(echo: &Echo<'_>) -> anyhow::Result<()> {
    let answer = answer(echo, &["http://shop.traffic/direct"])?;
    ensure!(
        answer.starts_with("418\n") && answer.ends_with("teapot"),
        "{answer}"
    );
    Ok(())
}

fn routes_act_on_requests(mesh: &Mesh) -> anyhow::Result<()> {
    with_routes(mesh, manifests::ACTIONS, actions_live, |echo| {
        let told = |path: &str| answer(echo, &[&format!("http://shop.traffic{path}")]);
        let rewritten = told("/rewrite/x")?;
        for part in [
            r#""path":"/rewritten/x""#,
            r#"["host","new.example"]"#,
            r#"["x-envoy-original-path","/rewrite/x"]"#,
        ] {
            ensure!(rewritten.contains(part), "{part}: {rewritten}");
        }
        let found = told("/pattern/a/b?c=d")?;
        ensure!(found.contains(r#""path":"/found/a/b?c=d""#), "{found}");
        let headers = answer(
            echo,
            &[
                "-H",
                "x-gone: 1",
                "-H",
                "x-add: one",
                "http://shop.traffic/headers",
            ],
        )?;
        for part in [
            r#"["x-set","new"]"#,
            r#"["x-add","one"]"#,
            r#"["x-add","two"]"#,
            r#"["x-destination","v1"]"#,
        ] {
            ensure!(headers.contains(part), "{part}: {headers}");
        }
        ensure!(!headers.contains("x-gone"), "{headers}");
        ensure!(headers.contains("x-answer: told\n"), "{headers}");
        ensure!(!headers.contains("upstream-service-time"), "{headers}");
        mirrored(mesh, echo)
    })
}

/// The copy goes to the other version, by another name, with the request's id.
fn mirrored(mesh: &Mesh, echo: &Echo<'_>) -> anyhow::Result<()> {
    let first = answer(echo, &["http://shop.traffic/mirror/me"])?;
    ensure!(first.contains("shop-v1"), "{first}");
    let shadow = server(mesh, "v2")?;
    eventually("the copy has arrived", SOON, || {
        let log = mesh.platform.logs(&shadow, "istio-proxy")?;
        let line = log.lines().find(|line| line.contains("/mirror/me"));
        let line = line.context("no request in the log")?;
        ensure!(line.contains("\"shop.traffic-shadow\""), "{line}");
        Ok(())
    })
}

fn routes_act_on_responses(mesh: &Mesh) -> anyhow::Result<()> {
    with_routes(mesh, manifests::ACTIONS, actions_live, |echo| {
        let redirect = answer(echo, &["http://shop.traffic/redirect"])?;
        ensure!(
            redirect.starts_with("307\n")
                && redirect.contains("location: https://other.example/new\n"),
            "{redirect}"
        );
        let preflight = answer(
            echo,
            &[
                "-X",
                "OPTIONS",
                "-H",
                "origin: https://a.example",
                "-H",
                "access-control-request-method: PUT",
                "http://shop.traffic/cors",
            ],
        )?;
        for part in [
            "200\n",
            "access-control-allow-origin: https://a.example\n",
            "access-control-allow-methods: GET,PUT\n",
            "access-control-allow-headers: x-h\n",
            "access-control-max-age: 3600\n",
            "access-control-allow-credentials: true\n",
        ] {
            ensure!(preflight.contains(part), "{part}: {preflight}");
        }
        let foreign = answer(
            echo,
            &[
                "-H",
                "origin: https://b.example",
                "http://shop.traffic/cors",
            ],
        )?;
        ensure!(
            foreign.starts_with("200\n") && !foreign.contains("access-control"),
            "{foreign}"
        );
        retried(mesh, echo)?;
        let aborted = (0..40)
            .map(|_| echo.status(&echo.client, &["http://shop.traffic/abort"]))
            .filter(|answer| matches!(answer, Ok((555, _))))
            .count();
        // Half of 40, six standard deviations either way.
        ensure!((1..40).contains(&aborted), "{aborted} of 40 were aborted");
        Ok(())
    })
}

/// A failing server is asked three times: once and two retries.
fn retried(mesh: &Mesh, echo: &Echo<'_>) -> anyhow::Result<()> {
    let first = server(mesh, "v1")?;
    let arrivals = || -> anyhow::Result<usize> {
        let log = mesh.platform.logs(&first, "istio-proxy")?;
        Ok(log.matches("\"GET /status/503 ").count())
    };
    let before = arrivals()?;
    let (status, _) = echo.status(&echo.client, &["http://shop.traffic/status/503"])?;
    ensure!(status == 503, "status {status}");
    eventually("three attempts are logged", SOON, || {
        let attempts = arrivals()? - before;
        ensure!(attempts == 3, "{attempts} attempts");
        Ok(())
    })
}

fn connections_are_shared_by_weight(mesh: &Mesh) -> anyhow::Result<()> {
    let count = |echo: &Echo<'_>, version: &str| {
        let cluster = format!("destination_workload=\"shop-{version}\"");
        echo.metric(
            &echo.client,
            &["istio_tcp_connections_opened_total{", &cluster],
        )
    };
    // Nothing tells weights from their absence but many connections.
    let live = |_: &Echo<'_>| Ok(());
    with_routes(mesh, manifests::CONNECTIONS, live, |echo| {
        let share = || -> anyhow::Result<f64> {
            let before = (count(echo, "v1")?, count(echo, "v2")?);
            for _ in 0..60 {
                let ran = echo.run(&echo.client, &["tcp", "shop.traffic:9001", "hello"])?;
                ensure!(ran.stdout.contains("hello"), "{ran:?}");
            }
            let first = count(echo, "v1")? - before.0;
            let second = count(echo, "v2")? - before.1;
            ensure!(first + second == 60.0, "{first} and {second} of 60");
            Ok(first / 60.0)
        };
        eventually("three quarters go to v1", SOON * 2, || {
            let share = share()?;
            // 45 of 60 are expected; half would be 30, four standard deviations below.
            ensure!((0.6..0.9).contains(&share), "{share} of the connections");
            Ok(())
        })
    })
}
