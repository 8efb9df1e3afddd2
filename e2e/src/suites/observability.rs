//! What proxies tell of the traffic: metrics, admin interface, and how they bear garbage.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Mesh, Test, echo};
use crate::deadline::eventually;
use crate::exposition::{Exposition, Labels};
use crate::platform::Pod;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "observability::requests_have_istios_labels_on_both_sides",
        requests_have_istios_labels_on_both_sides,
    ),
    (
        "observability::connections_have_istios_labels_on_both_sides",
        connections_have_istios_labels_on_both_sides,
    ),
    (
        "observability::the_applications_metrics_are_merged",
        the_applications_metrics_are_merged,
    ),
    (
        "observability::the_admin_interface_answers",
        the_admin_interface_answers,
    ),
    (
        "observability::garbage_is_counted_and_harms_nobody",
        garbage_is_counted_and_harms_nobody,
    ),
];

/// Counters are written when a request or connection has ended, which its client may see first.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

const IDENTITY: &str = "spiffe://cluster.local/ns/echo/sa/";

/// The labels that every metric has between `client` and `server`, seen by one of them.
fn labels(reporter: &str, protocol: &str) -> Labels {
    let mut labels: Labels = [
        ("reporter", reporter),
        ("request_protocol", protocol),
        ("response_flags", "-"),
        ("destination_service", "server.echo.svc.cluster.local"),
        ("destination_service_name", "server"),
        ("destination_service_namespace", "echo"),
        (
            "connection_security_policy",
            match reporter {
                "source" => "unknown",
                _ => "mutual_tls",
            },
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (end, workload) in [("source", "client"), ("destination", "server")] {
        let of_end = [
            ("workload", workload.to_owned()),
            ("workload_namespace", "echo".to_owned()),
            ("principal", format!("{IDENTITY}{workload}")),
            ("app", workload.to_owned()),
            ("version", "v1".to_owned()),
            ("canonical_service", workload.to_owned()),
            ("canonical_revision", "v1".to_owned()),
            ("cluster", "Kubernetes".to_owned()),
        ];
        labels.extend(of_end.map(|(name, value)| (format!("{end}_{name}"), value)));
    }
    labels
}

fn scrape(echo: &echo::Echo<'_>, pod: &Pod) -> anyhow::Result<Exposition> {
    Exposition::parse(&echo.page(pod, "http://127.0.0.1:15090/stats/prometheus")?)
}

/// How much each metric has grown on one side, whose series bears exactly `labels`.
fn grown(
    before: &Exposition,
    after: &Exposition,
    metric: &str,
    labels: &Labels,
) -> anyhow::Result<f64> {
    let exact: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
    let (found, _) = after
        .matching(metric, &exact)
        .next()
        .with_context(|| format!("{metric} has no series with {labels:?}"))?;
    ensure!(
        found == labels,
        "{metric} has the labels {found:?}, expected {labels:?}"
    );
    Ok(after.sum(metric, &exact) - before.sum(metric, &exact))
}

fn requests_have_istios_labels_on_both_sides(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let sides = [("source", &echo.client), ("destination", &echo.server)];
    let before = [scrape(&echo, &echo.client)?, scrape(&echo, &echo.server)?];
    for _ in 0..3 {
        let (status, body) = echo.status(&echo.client, &["http://server.echo/status/417"])?;
        ensure!(status == 417, "status {status}: {body}");
    }
    for ((reporter, pod), before) in sides.into_iter().zip(&before) {
        let mut labels = labels(reporter, "http");
        labels.insert("response_code".to_owned(), "417".to_owned());
        labels.insert("grpc_response_status".to_owned(), String::new());
        eventually(reporter, COUNTED_WITHIN, || {
            let after = scrape(&echo, pod)?;
            for metric in [
                "istio_requests_total",
                "istio_request_duration_milliseconds_count",
                "istio_request_bytes_count",
                "istio_response_bytes_count",
            ] {
                let count = grown(before, &after, metric, &labels)?;
                ensure!(count == 3.0, "{metric} grew by {count}, not 3");
            }
            for metric in ["istio_request_bytes_sum", "istio_response_bytes_sum"] {
                let bytes = grown(before, &after, metric, &labels)?;
                ensure!(
                    (150.0..15_000.0).contains(&bytes),
                    "{metric} grew by {bytes}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn connections_have_istios_labels_on_both_sides(mesh: &Mesh) -> anyhow::Result<()> {
    const LINE: &str = "over and out";
    let echo = echo::start(mesh)?;
    let sides = [("source", &echo.client), ("destination", &echo.server)];
    let before = [scrape(&echo, &echo.client)?, scrape(&echo, &echo.server)?];
    let ran = echo.run(&echo.client, &["tcp", "server.echo:9000", LINE])?;
    ensure!(ran.stdout.trim() == LINE, "{ran:?}");
    let length = LINE.len() as f64;
    for ((reporter, pod), before) in sides.into_iter().zip(&before) {
        let labels = labels(reporter, "tcp");
        eventually(reporter, COUNTED_WITHIN, || {
            let after = scrape(&echo, pod)?;
            for (metric, expected) in [
                ("istio_tcp_connections_opened_total", 1.0),
                ("istio_tcp_connections_closed_total", 1.0),
                ("istio_tcp_received_bytes_total", length),
                ("istio_tcp_sent_bytes_total", length),
            ] {
                let found = grown(before, &after, metric, &labels)?;
                ensure!(
                    found == expected,
                    "{metric} grew by {found}, not {expected}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn the_applications_metrics_are_merged(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let url = format!("http://{}:15020/stats/prometheus", echo.server.ip);
    let text = echo.page(&echo.outside_client, &url)?;
    let merged = Exposition::parse(&text)?;
    ensure!(
        merged.sum("meshecho_up", &[("name", "server.echo")]) == 1.0,
        "the application's metric is missing"
    );
    ensure!(
        merged
            .matching("istio_requests_total", &[])
            .next()
            .is_some(),
        "the proxy's own metrics are missing"
    );
    check_with_promtool(&text)
}

/// Prometheus' own reader, where it is installed; what it says of names is Envoy's affair.
fn check_with_promtool(text: &str) -> anyhow::Result<()> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else {
        return Ok(());
    };
    let mut input = promtool.stdin.take().context("no pipe to promtool")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let said = promtool.wait_with_output()?;
    ensure!(
        matches!(said.status.code(), Some(0 | 3)),
        "promtool: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

fn the_admin_interface_answers(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let ask = |path: &str| {
        echo.status(
            &echo.client,
            &[format!("http://127.0.0.1:15000{path}").as_str()],
        )
    };
    for path in [
        "/config_dump",
        "/clusters?format=json",
        "/listeners?format=json",
        "/certs",
        "/server_info",
        "/stats?format=json",
    ] {
        let body = echo.page(&echo.client, &format!("http://127.0.0.1:15000{path}"))?;
        serde_json::from_str::<serde_json::Value>(&body)
            .with_context(|| format!("{path} is no JSON"))?;
    }
    for (path, wanted) in [
        ("/", 200),
        ("/clusters", 200),
        ("/listeners", 200),
        ("/stats", 200),
        ("/stats/prometheus", 200),
        ("/healthz", 200),
        ("/ready", 200),
        ("/logging", 405),
        ("/nothing-here", 404),
    ] {
        let (status, body) = ask(path)?;
        ensure!(status == wanted, "{path}: status {status}: {body}");
    }
    let set = |level: &str| {
        let url = format!("http://127.0.0.1:15000/logging?level={level}");
        echo.status(&echo.client, &["-X", "POST", &url])
    };
    let (status, body) = set("debug")?;
    ensure!(status == 200 && body.contains("debug"), "{status}: {body}");
    ensure!(set("loud")?.0 == 400, "an unknown level was taken");
    ensure!(set("info")?.0 == 200, "the level was not taken back");
    Ok(())
}

fn garbage_is_counted_and_harms_nobody(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let own = &echo.server.ip;
    let garbage = |port: u16, line: &str| {
        let to = format!("{own}:{port}");
        echo.run(&echo.outside_client, &["tcp", "--timeout", "10", &to, line])
    };
    let counters = [
        (
            8080,
            "envoy_listener_downstream_cx_protocol_error",
            ("listener_name", "virtualInbound"),
        ),
        (
            15020,
            "meshproxy_control_protocol_error_total",
            ("interface", "status"),
        ),
        (
            15021,
            "meshproxy_control_protocol_error_total",
            ("interface", "readiness"),
        ),
    ];
    for (port, metric, label) in counters {
        let before = scrape(&echo, &echo.server)?.sum(metric, &[label]);
        let smuggling =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
        for line in ["\u{16}\u{3}\u{1}nonsense\r\n\r\n", smuggling] {
            garbage(port, line)?;
        }
        if port == 8080 {
            garbage(port, &huge)?;
        }
        eventually("it is counted", COUNTED_WITHIN, || {
            let after = scrape(&echo, &echo.server)?.sum(metric, &[label]);
            ensure!(after - before >= 2.0, "{metric} grew by {}", after - before);
            Ok(())
        })?;
    }
    // Nobody may come to the proxy's own ports but by redirection.
    for port in [15001, 15006] {
        garbage(port, "hello")?;
    }
    let (status, body) = echo.status(&echo.client, &["http://server.echo/after"])?;
    ensure!(status == 200, "status {status}: {body}");
    let panics = scrape(&echo, &echo.server)?.sum("meshproxy_task_panics_total", &[]);
    ensure!(panics == 0.0, "{panics} tasks panicked");
    let log = mesh.platform.logs(&echo.server, "istio-proxy")?;
    ensure!(!log.contains("panicked"), "a task panicked: {log}");
    Ok(())
}
