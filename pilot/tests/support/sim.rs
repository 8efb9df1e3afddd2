//! Asks the data plane's own engine where connections and requests go under pilot's configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_pilot::translate::ProxyKind;
use mesh_route::route::WeightedCluster;
use mesh_route::{
    AuthzInput, Compiler, ConnInfo, FaultDecision, FilterChain, HttpManager, RequestView,
    RouteDecision, Snapshot, Terminal,
};
use mesh_xds::type_url::PUSH_ORDER;

use crate::world::{World, all};

/// A proxy with everything that pilot gives it, compiled.
pub(crate) struct Sim {
    pub(crate) engine: Arc<Snapshot>,
}

/// A request of a client.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Address that was dialled.
    pub(crate) to: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Decides weights and shares.
    pub(crate) random: u64,
}

impl<'a> Ask<'a> {
    /// A GET of `/`.
    pub(crate) fn get(to: &'a str, authority: &'a str) -> Self {
        Self {
            to,
            authority,
            method: "GET",
            path: "/",
            headers: &[],
            random: 0,
        }
    }
}

/// How a server's proxy meets a caller.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Identity, if it came by mesh mTLS.
    pub(crate) principal: Option<&'a str>,
    /// ALPN offered under TLS, or what was detected in plain text.
    pub(crate) alpn: &'a str,
}

impl Sim {
    /// Compiles what a pod's proxy gets; panics on anything that the engine refuses or misses.
    pub(crate) fn new(world: &World, pod: &str, kind: ProxyKind) -> Self {
        let snapshot = world.snapshot();
        let proxy = world.proxy(pod, kind);
        let mut compiler = Compiler::new();
        for type_url in PUSH_ORDER {
            let resources: Vec<_> = all(&snapshot, &proxy, type_url)
                .into_iter()
                .map(|resource| (resource.name, resource.version, resource.body))
                .collect();
            let applied = compiler.apply(type_url, &resources, &[]);
            assert!(applied.rejected.is_empty(), "{:#?}", applied.rejected);
        }
        Self {
            engine: compiler.snapshot(),
        }
    }

    /// The sidecar of a pod.
    pub(crate) fn sidecar(world: &World, pod: &str) -> Self {
        Self::new(world, pod, ProxyKind::Sidecar)
    }

    /// Where an HTTP request of the application goes: `CLUSTER`, `502`, `301 LOCATION`, `404`, or
    /// `tcp CLUSTER` if it is not seen as HTTP.
    pub(crate) fn outbound(&self, ask: Ask<'_>) -> String {
        let to: SocketAddr = ask.to.parse().unwrap();
        let connection = ConnInfo {
            destination: to,
            source: "10.244.0.2:40000".parse().unwrap(),
            server_name: None,
            tls: false,
            application_protocols: &[b"http/1.1"],
        };
        let listener = self.engine.outbound(to).expect("a listener");
        match listener.select(&connection) {
            Some(chain) => self.through(chain, ask, "http"),
            None => "closed".to_owned(),
        }
    }

    /// Where a connection with this SNI goes.
    pub(crate) fn outbound_tls(&self, to: &str, sni: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        let connection = ConnInfo {
            destination: to,
            source: "10.244.0.2:40000".parse().unwrap(),
            server_name: Some(sni),
            tls: true,
            application_protocols: &[],
        };
        let listener = self.engine.outbound(to).expect("a listener");
        match listener.select(&connection).map(|chain| &chain.terminal) {
            Some(Terminal::Tcp(tcp)) => tcp.cluster(0).to_string(),
            Some(Terminal::Http(_)) => "http".to_owned(),
            None => "closed".to_owned(),
        }
    }

    /// Where a gateway sends a request that came to one of its ports.
    pub(crate) fn gateway(&self, port: u16, sni: Option<&str>, ask: Ask<'_>) -> String {
        let to: SocketAddr = format!("10.244.0.2:{port}").parse().unwrap();
        let mut bound = self.engine.bound().iter();
        let listener = bound
            .find(|l| l.address.port() == port)
            .expect("a listener");
        let connection = ConnInfo {
            destination: to,
            source: "192.0.2.9:40000".parse().unwrap(),
            server_name: sni,
            tls: sni.is_some(),
            application_protocols: &[],
        };
        let scheme = if sni.is_some() { "https" } else { "http" };
        match listener.select(&connection) {
            Some(chain) => self.through(chain, ask, scheme),
            None => "closed".to_owned(),
        }
    }

    /// What an inbound request meets: `CLUSTER`, `403`, or `closed` if no chain takes the connection.
    pub(crate) fn inbound(&self, caller: Caller<'_>, ask: Ask<'_>) -> String {
        let to: SocketAddr = ask.to.parse().unwrap();
        let alpn = [caller.alpn.as_bytes()];
        let connection = ConnInfo {
            destination: to,
            source: "10.244.0.9:40000".parse().unwrap(),
            server_name: None,
            tls: caller.principal.is_some(),
            application_protocols: if caller.alpn.is_empty() { &[] } else { &alpn },
        };
        let Some(chain) = self.engine.inbound().unwrap().select(&connection) else {
            return "closed".to_owned();
        };
        let headers = headers(ask.headers);
        let request = view(&ask, &headers, "http");
        let input = AuthzInput {
            direct_remote: connection.source,
            remote: connection.source.ip(),
            destination: to,
            server_name: None,
            principal: caller.principal,
            tls: caller.principal.is_some(),
            request: Some(&request),
        };
        let allowed = match &chain.terminal {
            Terminal::Http(manager) => manager.authorize(&input).allowed(),
            Terminal::Tcp(_) => chain.network_rbac.iter().all(|rbac| {
                let input = AuthzInput {
                    request: None,
                    ..input
                };
                rbac.decide(&input).allowed()
            }),
        };
        if allowed {
            self.through(chain, ask, "http")
        } else {
            "403".to_owned()
        }
    }

    /// The fault that a request of the application meets.
    pub(crate) fn fault(&self, ask: Ask<'_>) -> Option<FaultDecision> {
        let to: SocketAddr = ask.to.parse().unwrap();
        let connection = ConnInfo {
            destination: to,
            source: "10.244.0.2:40000".parse().unwrap(),
            server_name: None,
            tls: false,
            application_protocols: &[b"http/1.1"],
        };
        let chain = self.engine.outbound(to)?.select(&connection)?;
        let Terminal::Http(manager) = &chain.terminal else {
            return None;
        };
        let headers = headers(ask.headers);
        let request = view(&ask, &headers, "http");
        match self
            .engine
            .route_table(manager)?
            .route(&request, ask.random)
        {
            RouteDecision::Forward {
                matched, cluster, ..
            } => {
                let fault = manager.fault(&matched)?;
                Some(fault.decide(&request, &cluster.name, ask.random))
            }
            _ => None,
        }
    }

    fn through(&self, chain: &FilterChain, ask: Ask<'_>, scheme: &str) -> String {
        match &chain.terminal {
            Terminal::Tcp(tcp) => format!("tcp {}", tcp.cluster(ask.random)),
            Terminal::Http(manager) => self.routed(manager, ask, scheme),
        }
    }

    fn routed(&self, manager: &HttpManager, ask: Ask<'_>, scheme: &str) -> String {
        let table = self.engine.route_table(manager).expect("routes");
        let headers = headers(ask.headers);
        let request = view(&ask, &headers, scheme);
        match table.route(&request, ask.random) {
            RouteDecision::Forward {
                cluster: WeightedCluster { name, .. },
                ..
            } => name.to_string(),
            RouteDecision::Redirect { redirect, .. } => redirect.status.to_string(),
            RouteDecision::Direct { status, .. } => status.to_string(),
            RouteDecision::RequireTls => "301 https".to_owned(),
            RouteDecision::NotFound => "404".to_owned(),
        }
    }
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn view<'a>(ask: &Ask<'a>, headers: &'a HeaderMap, scheme: &'a str) -> RequestView<'a> {
    RequestView {
        method: ask.method,
        path: ask.path,
        authority: ask.authority,
        scheme,
        headers,
    }
}
