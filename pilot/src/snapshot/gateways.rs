//! The Gateways that apply to one gateway proxy, merged port by port.
//!
//! Source: Istio's merge of Gateways: HTTP servers of one port share a listener and a route
//! configuration; TLS servers of one port are told apart by SNI; anything else on a taken port is
//! ignored with a [`Problem`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::{HashMap, HashSet};
use mesh_config::{
    Gateway, HostPattern, Labels, Object, Protocol,
    gateway::Server,
    tls::{ServerTls, TerminatedTls},
};

use super::{Problem, ServiceTarget};

/// A server of a Gateway, placed on a port of the proxy.
#[derive(Clone, Debug)]
pub struct GatewayServer {
    /// The Gateway.
    pub gateway: Arc<Object<Gateway>>,
    /// Which of its servers.
    pub index: usize,
    /// Name of its route configuration; `None` for servers that route bytes.
    pub route_name: Option<String>,
}

/// The servers of one listener.
#[derive(Clone, Debug)]
pub struct ServerGroup {
    /// Port that the proxy binds.
    pub port: u16,
    /// Address that it binds; `None` for all.
    pub bind: Option<IpAddr>,
    /// The servers, the oldest Gateway's first.
    pub servers: Vec<GatewayServer>,
}

/// All listeners of one gateway proxy.
#[derive(Clone, Debug, Default)]
pub struct MergedGateway {
    /// Listeners by port and address.
    pub groups: BTreeMap<(u16, Option<IpAddr>), ServerGroup>,
    /// What could not be merged.
    pub problems: Vec<Problem>,
}

impl GatewayServer {
    /// The server.
    pub fn server(&self) -> &Server {
        &self.gateway.spec.servers[self.index]
    }

    /// How it terminates TLS, if it does.
    pub fn terminated(&self) -> Option<&TerminatedTls> {
        match &self.server().tls {
            Some(ServerTls::Terminate(tls)) => Some(tls),
            _ => None,
        }
    }

    /// Whether it takes plain HTTP.
    pub fn is_plain_http(&self) -> bool {
        self.server().port.protocol.is_http()
    }

    /// The SNI values it takes, sorted; `*` among them means all.
    pub fn sni_hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self
            .server()
            .hosts
            .iter()
            .map(|host| host.host.to_string())
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

impl MergedGateway {
    /// Merges the Gateways that select a proxy with `labels`.
    ///
    /// `gateways`: all, the oldest first. `targets`: the service ports that lead to the proxy; a
    /// server's port that is one of them is bound on its target port (80 on 8080).
    pub fn build(
        gateways: &[Arc<Object<Gateway>>],
        labels: &Labels,
        targets: &[ServiceTarget],
    ) -> Self {
        let mut merged = Self::default();
        let mut sni: HashMap<(u16, Option<IpAddr>), HashSet<HostPattern>> = HashMap::new();
        for gateway in gateways.iter().filter(|g| g.spec.selector.matches(labels)) {
            for (index, server) in gateway.spec.servers.iter().enumerate() {
                let number = server.port.number.get();
                let port = targets
                    .iter()
                    .find(|target| target.port.number == number)
                    .map_or(number, |target| target.target);
                let candidate = GatewayServer {
                    gateway: gateway.clone(),
                    index,
                    route_name: route_name(gateway, server, port),
                };
                if server.tls.is_some() {
                    let known = sni.entry((port, server.bind)).or_default();
                    if let Some(host) = server.hosts.iter().find(|h| known.contains(&h.host)) {
                        let text = format!(
                            "host {} is already served on port {number} by an older Gateway; this server is ignored",
                            host.host
                        );
                        merged.refuse(&candidate, "hosts", text);
                        continue;
                    }
                    known.extend(server.hosts.iter().map(|host| host.host.clone()));
                }
                merged.place(candidate, port, server.bind);
            }
        }
        merged
    }

    fn place(&mut self, candidate: GatewayServer, port: u16, bind: Option<IpAddr>) {
        let Some(group) = self.groups.get_mut(&(port, bind)) else {
            self.groups.insert(
                (port, bind),
                ServerGroup {
                    port,
                    bind,
                    servers: vec![candidate],
                },
            );
            return;
        };
        let first = &group.servers[0];
        let both_http = first.is_plain_http() && candidate.is_plain_http();
        let both_tls = first.server().tls.is_some() && candidate.server().tls.is_some();
        if both_http {
            group.servers.push(candidate);
            return;
        }
        let same_route = candidate.route_name.is_some()
            && group
                .servers
                .iter()
                .any(|server| server.route_name == candidate.route_name);
        if both_tls && !same_route {
            group.servers.push(candidate);
            return;
        }
        let text = if same_route {
            "another HTTPS server of this Gateway has the same port and port name; this server is ignored".to_owned()
        } else {
            format!(
                "port {port} already has a {} server of Gateway {}; this server is ignored",
                first.server().port.protocol,
                first.gateway.meta
            )
        };
        self.refuse(&candidate, "port", text);
    }

    fn refuse(&mut self, server: &GatewayServer, field: &str, message: String) {
        self.problems.push(Problem {
            kind: "Gateway",
            namespace: server.gateway.meta.namespace.clone(),
            name: server.gateway.meta.name.clone(),
            field: format!("spec.servers[{}].{field}", server.index),
            message,
            remedy: "use another port, host or port name, or remove the other server".to_owned(),
        });
    }

    /// The servers that share a route configuration.
    pub fn servers_of_route(&self, name: &str) -> Vec<&GatewayServer> {
        self.groups
            .values()
            .flat_map(|group| &group.servers)
            .filter(|server| server.route_name.as_deref() == Some(name))
            .collect()
    }
}

/// `http.PORT` for plain HTTP (PORT: the one that is bound), `https.PORT.PORTNAME.GATEWAY.NAMESPACE`
/// for terminated HTTPS (PORT: the server's), with `.BIND` if an address is given.
fn route_name(gateway: &Object<Gateway>, server: &Server, port: u16) -> Option<String> {
    let bind = server.bind.map(|ip| format!(".{ip}")).unwrap_or_default();
    let own = &server.port;
    if own.protocol.is_http() {
        return Some(format!("http.{port}{bind}"));
    }
    let terminated = matches!(server.tls, Some(ServerTls::Terminate(_)));
    (own.protocol == Protocol::Https && terminated).then(|| {
        format!(
            "https.{}.{}.{}.{}{bind}",
            own.number, own.name, gateway.meta.name, gateway.meta.namespace
        )
    })
}
