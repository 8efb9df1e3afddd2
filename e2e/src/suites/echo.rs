//! Test applications: `server` and `client` with sidecars in the namespace `echo`, and both again
//! without sidecars in the namespace `outside`.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::Mesh;
use crate::deadline::eventually;
use crate::platform::{Pod, Ran};

/// How long the test applications may take to start.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The running test applications.
pub struct Echo<'a> {
    mesh: &'a Mesh,
    /// A server with a sidecar, behind the service `server.echo`.
    pub server: Pod,
    /// A client with a sidecar.
    pub client: Pod,
    /// A server without a sidecar and without a service.
    pub outside_server: Pod,
    /// A client without a sidecar.
    pub outside_client: Pod,
}

/// Starts the test applications (or finds them running).
///
/// # Errors
/// When they don't become ready.
pub fn start(mesh: &Mesh) -> anyhow::Result<Echo<'_>> {
    mesh.platform.apply_text(&manifests())?;
    let ready = |namespace: &str, app: &str| {
        eventually(&format!("{app}.{namespace} is ready"), START_WITHIN, || {
            let pods = mesh.platform.pods(namespace, app)?;
            pods.into_iter()
                .find(|pod| pod.ready)
                .context("no ready pod")
        })
    };
    let echo = Echo {
        mesh,
        server: ready("echo", "server")?,
        client: ready("echo", "client")?,
        outside_server: ready("outside", "server")?,
        outside_client: ready("outside", "client")?,
    };
    // A ready pod is an endpoint only once its readiness has travelled to the client's proxy.
    eventually("the client's proxy knows the server", START_WITHIN, || {
        let (status, body) = echo.status(&echo.client, &["http://server.echo/ready"])?;
        ensure!(status == 200, "status {status}: {body}");
        Ok(())
    })?;
    Ok(echo)
}

impl Echo<'_> {
    /// `meshecho ARGUMENTS` in `pod`.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn run(&self, pod: &Pod, arguments: &[&str]) -> anyhow::Result<Ran> {
        let program = self.mesh.platform.meshecho();
        let command: Vec<&str> = std::iter::once(program.as_str())
            .chain(arguments.iter().copied())
            .collect();
        self.mesh.platform.exec(pod, None, &command)
    }

    /// A GET from `pod`, extra arguments first: the status, or 0 when no answer came.
    ///
    /// # Errors
    /// When the client could not be started.
    pub fn status(&self, pod: &Pod, arguments: &[&str]) -> anyhow::Result<(u16, String)> {
        let ran = self.run(pod, &[&["get"], arguments].concat())?;
        if ran.code != 0 {
            return Ok((0, ran.stdout));
        }
        let status = ran.stdout.lines().next().and_then(|line| line.parse().ok());
        Ok((
            status.with_context(|| format!("no status in {:?} {:?}", ran.stdout, ran.stderr))?,
            ran.stdout,
        ))
    }

    /// The body of a page that `pod` gets.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub fn page(&self, pod: &Pod, url: &str) -> anyhow::Result<String> {
        let (status, text) = self.status(pod, &[url])?;
        ensure!(status == 200, "{url}: status {status}");
        let body = text.split_once("\n\n").map(|(_, body)| body.to_owned());
        body.with_context(|| format!("{url}: no body"))
    }

    /// The sum of a proxy's samples whose line contains all of `parts`.
    ///
    /// # Errors
    /// When the proxy's metrics can't be read.
    pub fn metric(&self, pod: &Pod, parts: &[&str]) -> anyhow::Result<f64> {
        let (status, text) = self.status(pod, &["http://127.0.0.1:15090/stats/prometheus"])?;
        ensure!(status == 200, "status {status} of the metrics");
        let samples = text
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        Ok(samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

fn manifests() -> String {
    let mut text = String::from(NAMESPACES);
    for namespace in ["echo", "outside"] {
        for app in ["server", "client"] {
            text += &DEPLOYMENT
                .replace("NAMESPACE", namespace)
                .replace("APP", app);
        }
    }
    text + SERVICE
}

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: echo, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
";

/// Every port of the server has a probe of another kind, so that readiness proves them all.
const DEPLOYMENT: &str = r"
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: APP, namespace: NAMESPACE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: APP, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: APP}}
  template:
    metadata:
      labels: {app: APP, version: v1}
      annotations: {prometheus.io/scrape: 'true', prometheus.io/port: '8080'}
    spec:
      serviceAccountName: APP
      containers:
        - name: echo
          image: mesh/echo:latest
          imagePullPolicy: IfNotPresent
          args: [serve, --http, '8080', --http, '8082', --http, '8090', --http, '80', --tls, '8443', --tcp, '9000', --greet, '9001', --name, APP.NAMESPACE]
          ports: [{containerPort: 8080}, {containerPort: 8082}, {containerPort: 8090}, {containerPort: 80}, {containerPort: 8443}, {containerPort: 9000}, {containerPort: 9001}]
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 2}
          livenessProbe: {grpc: {port: 8080}, periodSeconds: 1}
          startupProbe: {tcpSocket: {port: 9000}, periodSeconds: 1, failureThreshold: 30}
";

const SERVICE: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: echo}
spec:
  selector: {app: server}
  ports:
    - {name: http, port: 80, targetPort: 8080}
    - {name: http2, port: 8082}
    - {name: tls, port: 8443}
    - {name: tcp, port: 9000}
    - {name: tcp-greet, port: 9001}
    - {name: undeclared, port: 8090}
    - {name: undeclared-greet, port: 9091, targetPort: 9001}
";
