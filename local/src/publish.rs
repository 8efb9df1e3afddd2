//! Which Service ports are bound on this machine, and where.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::api::wire;
use crate::net::{Network, Published};

/// `--publish SERVICE.NAMESPACE:PORT=HOSTPORT`; `*=0` means any free port for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Service, namespace, port; `None` for all.
    pub service: Option<(String, String, u16)>,
    /// Port on this machine; 0 for any free one.
    pub host_port: u16,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?}: write SERVICE.NAMESPACE:PORT=HOSTPORT (0 for any free port), or *=0")
        };
        let (service, host_port) = text.split_once('=').ok_or_else(wrong)?;
        let host_port: u16 = host_port.parse().map_err(|_| wrong())?;
        if service == "*" {
            return if host_port == 0 {
                Ok(Self {
                    service: None,
                    host_port,
                })
            } else {
                Err(wrong())
            };
        }
        let (name, port) = service.rsplit_once(':').ok_or_else(wrong)?;
        let (name, namespace) = name.split_once('.').unwrap_or((name, "default"));
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let service = Some((name.to_owned(), namespace.to_owned(), port));
        Ok(Self { service, host_port })
    }
}

/// A Service port that may be bound.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The Service's namespace.
    pub(crate) namespace: String,
    /// The Service's name.
    pub(crate) service: String,
    /// The Service's port.
    pub(crate) port: u16,
    /// The Service's address.
    pub(crate) target: SocketAddr,
    /// A LoadBalancer: published without being asked.
    pub(crate) balanced: bool,
    /// A NodePort: published there.
    pub(crate) node_port: Option<u16>,
}

type PortKey = (String, String, u16);

/// The bound ports.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    overrides: Vec<Override>,
    bound: BTreeMap<PortKey, (u16, SocketAddr, Published)>,
}

impl Publisher {
    /// Nothing bound yet.
    pub(crate) fn new(overrides: Vec<Override>) -> Self {
        Self {
            overrides,
            bound: BTreeMap::new(),
        }
    }

    /// Binds what is wished for and not bound, closes what is no longer. Each failure: what, why.
    pub(crate) async fn update(
        &mut self,
        network: &Network,
        wishes: &[Wish],
    ) -> Vec<(String, String)> {
        let wanted: BTreeMap<PortKey, (u16, SocketAddr)> = wishes
            .iter()
            .filter_map(|wish| {
                let key = (wish.namespace.clone(), wish.service.clone(), wish.port);
                Some((key, (host_port(&self.overrides, wish)?, wish.target)))
            })
            .collect();
        self.bound
            .retain(|key, (port, target, _)| wanted.get(key) == Some(&(*port, *target)));
        let mut failures = Vec::new();
        for (key, (port, target)) in wanted {
            if self.bound.contains_key(&key) {
                continue;
            }
            match network
                .publish((Ipv4Addr::LOCALHOST, port).into(), target)
                .await
            {
                Ok(published) => {
                    tracing::info!(service = key.1, port = key.2, at = %published.address(), "published");
                    self.bound.insert(key, (port, target, published));
                }
                Err(error) => {
                    let (namespace, service, service_port) = &key;
                    let problem = format!(
                        "Service {namespace}/{service} port {service_port} is not published: {} (or choose with --publish {service}.{namespace}:{service_port}=PORT)",
                        crate::chain(&error)
                    );
                    failures.push((format!("{namespace}/{service}:{service_port}"), problem));
                }
            }
        }
        failures
    }

    /// What is bound where.
    pub(crate) fn list(&self) -> Vec<wire::Published> {
        let bound = self.bound.iter();
        bound
            .map(
                |((namespace, service, port), (_, _, published))| wire::Published {
                    namespace: namespace.clone(),
                    service: service.clone(),
                    port: *port,
                    address: published.address().to_string(),
                },
            )
            .collect()
    }

    /// Closes everything.
    pub(crate) fn close(&mut self) {
        self.bound.clear();
    }
}

/// The port on this machine for a Service port, if it is to be published at all.
fn host_port(overrides: &[Override], wish: &Wish) -> Option<u16> {
    let named = overrides.iter().rev().find(|candidate| {
        candidate
            .service
            .as_ref()
            .is_some_and(|(service, namespace, port)| {
                *service == wish.service && *namespace == wish.namespace && *port == wish.port
            })
    });
    if let Some(named) = named {
        return Some(named.host_port);
    }
    let own = match (wish.node_port, wish.balanced) {
        (Some(node_port), _) => Some(node_port),
        // Ordinary users may not bind below 1024.
        (None, true) if wish.port < 1024 => Some(wish.port + 8000),
        (None, true) => Some(wish.port),
        (None, false) => None,
    };
    let any = overrides
        .iter()
        .any(|candidate| candidate.service.is_none());
    own.map(|port| if any { 0 } else { port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(port: u16, balanced: bool, node_port: Option<u16>) -> Wish {
        Wish {
            namespace: "shop".to_owned(),
            service: "web".to_owned(),
            port,
            target: ([10, 96, 1, 1], port).into(),
            balanced,
            node_port,
        }
    }

    #[test]
    fn low_ports_move_up_by_8000() {
        assert_eq!(host_port(&[], &wish(80, true, None)), Some(8080));
        assert_eq!(host_port(&[], &wish(443, true, None)), Some(8443));
        assert_eq!(host_port(&[], &wish(15021, true, None)), Some(15021));
        assert_eq!(host_port(&[], &wish(80, false, Some(30080))), Some(30080));
        assert_eq!(host_port(&[], &wish(80, false, None)), None);
    }

    #[test]
    fn overrides_decide() {
        let own: Override = "web.shop:80=9000".parse().unwrap();
        let any: Override = "*=0".parse().unwrap();
        let all = [own, any];
        assert_eq!(host_port(&all, &wish(80, true, None)), Some(9000));
        assert_eq!(host_port(&all, &wish(443, true, None)), Some(0));
        assert_eq!(host_port(&all, &wish(443, false, None)), None);
        assert_eq!(host_port(&all[..1], &wish(80, false, None)), Some(9000));
        for wrong in ["web", "web:80", "web:x=1", "*=80"] {
            assert!(wrong.parse::<Override>().is_err(), "{wrong}");
        }
    }
}
