//! The mesh of a run, as manifests: a client and a server on the loopback without a redirect (Sidecar,
//! `captureMode: NONE`), and as many further services as asked for.

use std::fmt::Write as _;

use crate::place::{CLIENT_POD, LANES, Lane, Ports, Protocol, SERVER_POD};

/// Protocol names of ports.
fn kind(lane: Lane) -> (&'static str, &'static str) {
    match lane.protocol {
        Protocol::Http1 => ("http", "HTTP"),
        Protocol::Http2 => ("http2", "HTTP2"),
        Protocol::Grpc => ("grpc", "GRPC"),
        Protocol::Tcp => ("tcp", "TCP"),
    }
}

/// A port's name; its beginning says the protocol.
fn port_name(lane: Lane) -> String {
    let rest = lane
        .name
        .split_once('-')
        .map_or(lane.name, |(_, rest)| rest);
    format!("{}-{rest}", kind(lane).0)
}

/// Manifests of client, server and their policies.
///
/// `everything`: the client's proxy knows all services, not just the server.
pub(super) fn pair(ports: Ports, everything: bool) -> String {
    let mut text = base();
    service(&mut text, ports);
    pod(&mut text, "client", &CLIENT_POD.to_string());
    pod(&mut text, "server", &SERVER_POD.to_string());
    sidecars(&mut text, ports, everything);
    policies(&mut text, ports);
    text
}

fn base() -> String {
    "apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
"
    .to_owned()
}

fn pod(text: &mut String, name: &str, ip: &str) {
    let _ = write!(
        text,
        "---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  labels: {{app: {name}, version: v1, security.istio.io/tlsMode: istio}}
spec:
  serviceAccountName: {name}
  containers: [{{name: app, image: app}}]
status:
  podIP: {ip}
  phase: Running
  conditions: [{{type: Ready, status: \"True\"}}]
"
    );
}

fn service(text: &mut String, ports: Ports) {
    let of_service = LANES.map(|lane| {
        let port = ports.lane(lane);
        format!(
            "{{name: {}, port: {port}, targetPort: {port}}}",
            port_name(lane)
        )
    });
    let of_slice =
        LANES.map(|lane| format!("{{name: {}, port: {}}}", port_name(lane), ports.lane(lane)));
    let _ = write!(
        text,
        "---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: bench}}
spec:
  clusterIP: 10.96.77.1
  selector: {{app: server}}
  ports: [{}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: server-1, namespace: bench, labels: {{kubernetes.io/service-name: server}}}}
addressType: IPv4
ports: [{}]
endpoints:
- addresses: [{SERVER_POD}]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: server, namespace: bench}}
",
        of_service.join(", "),
        of_slice.join(", ")
    );
}

fn sidecars(text: &mut String, ports: Ports, everything: bool) {
    let declared = |lane: Lane| {
        format!(
            "port: {{number: {}, protocol: {}, name: {}}}\n    captureMode: NONE\n",
            ports.lane(lane),
            kind(lane).1,
            port_name(lane)
        )
    };
    let _ = write!(
        text,
        "---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: client, namespace: bench}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  egress:
"
    );
    for lane in LANES {
        let _ = writeln!(
            text,
            "  - {}    hosts: [\"bench/server.bench.svc.cluster.local\"]",
            declared(lane)
        );
    }
    if everything {
        let _ = writeln!(text, "  - hosts: [\"mass/*\"]");
    }
    let _ = write!(
        text,
        "---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: server, namespace: bench}}
spec:
  workloadSelector: {{labels: {{app: server}}}}
  egress: [{{hosts: [\"~/*\"]}}]
  ingress:
"
    );
    for lane in LANES {
        let _ = writeln!(
            text,
            "  - {}    bind: {SERVER_POD}\n    defaultEndpoint: {}",
            declared(lane),
            ports.backend(lane.protocol)
        );
    }
}

fn policies(text: &mut String, ports: Ports) {
    let numbers = |mtls: bool| {
        let lanes = LANES.iter().filter(|lane| lane.mtls == mtls);
        let numbers: Vec<String> = lanes
            .map(|lane| format!("\"{}\"", ports.lane(*lane)))
            .collect();
        numbers.join(", ")
    };
    let _ = write!(
        text,
        "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: server, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  action: ALLOW
  rules:
  - from: [{{source: {{principals: [\"cluster.local/ns/bench/sa/client\"]}}}}]
    to: [{{operation: {{ports: [{}]}}}}]
  - to: [{{operation: {{ports: [{}]}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: server, namespace: bench}}
spec:
  host: server.bench.svc.cluster.local
  trafficPolicy:
    portLevelSettings:
",
        numbers(true),
        numbers(false)
    );
    for lane in LANES {
        let port = ports.lane(lane);
        if !lane.mtls {
            let _ = writeln!(
                text,
                "    - {{port: {{number: {port}}}, tls: {{mode: DISABLE}}}}"
            );
        } else if lane.once {
            let _ = writeln!(
                text,
                "    - {{port: {{number: {port}}}, connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}}}"
            );
        }
    }
}

/// Services that are configured but not called: one HTTP port and `endpoints` meshed endpoints each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mass {
    /// How many.
    pub(crate) services: usize,
    /// Endpoints of each.
    pub(crate) endpoints: usize,
    /// Port of all of them.
    pub(crate) port: u16,
}

impl Mass {
    /// The host of a service.
    pub(crate) fn host(number: usize) -> String {
        format!("service-{number}.mass.svc.cluster.local")
    }

    /// The address of an endpoint.
    pub(crate) fn address(self, service: usize, endpoint: usize) -> String {
        let number = service * self.endpoints + endpoint;
        format!(
            "10.{}.{}.{}",
            128 + (number >> 16),
            (number >> 8) & 255,
            number & 255
        )
    }
}

/// The manifests of a part of the services, one document after the other.
pub(crate) fn mass(mass: Mass, services: std::ops::Range<usize>) -> String {
    let mut text = String::from("apiVersion: v1\nkind: Namespace\nmetadata: {name: mass}\n");
    for number in services {
        let port = mass.port;
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: mass}}
spec: {{clusterIP: 10.97.{}.{}, selector: {{app: service-{number}}}, ports: [{{name: http, port: {port}, targetPort: 8080}}]}}
",
            number >> 8,
            number & 255
        );
        text.push_str(&slice(mass, number, mass.endpoints));
        for endpoint in 0..mass.endpoints {
            let _ = write!(
                text,
                "---
apiVersion: v1
kind: Pod
metadata: {{name: service-{number}-{endpoint}, namespace: mass, labels: {{app: service-{number}, version: v1, security.istio.io/tlsMode: istio}}}}
spec: {{serviceAccountName: service-{number}, containers: [{{name: app, image: app}}]}}
status: {{podIP: {}, phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}
",
                mass.address(number, endpoint)
            );
        }
    }
    text
}

/// The endpoints of a service, the first `count` of them.
pub(crate) fn slice(mass: Mass, number: usize, count: usize) -> String {
    let mut text = format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: service-{number}-1, namespace: mass, labels: {{kubernetes.io/service-name: service-{number}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
"
    );
    for endpoint in 0..count {
        let _ = writeln!(
            text,
            "- {{addresses: [{}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: service-{number}-{endpoint}, namespace: mass}}}}",
            mass.address(number, endpoint)
        );
    }
    text
}
