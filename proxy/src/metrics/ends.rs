//! Who the two ends of a connection or request are, seen from our side.

use std::rc::Rc;
use std::sync::Arc;

use mesh_route::{Cluster, Endpoint};

use super::{Ends, Reporter, SecurityPolicy, Service};
use crate::listen::connection::{Connection, Direction};
use crate::peer::{Peer, UNKNOWN};

/// What is known about the other end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Far<'a> {
    /// The cluster, once chosen.
    pub cluster: Option<&'a Cluster>,
    /// The endpoint, once picked.
    pub endpoint: Option<&'a Arc<Endpoint>>,
    /// Identity of the upstream under mesh mTLS.
    pub principal: Option<&'a Rc<str>>,
    /// What the peer told about itself: the upstream's answer, or the client's request.
    pub peer: Option<&'a Rc<Peer>>,
    /// The request's host, for services that no cluster names.
    pub host: Option<&'a str>,
}

/// The ends as they are reported by the proxy of `connection`.
pub fn of(connection: &Connection, far: &Far<'_>) -> Ends {
    match connection.direction {
        Direction::Inbound => of_server(connection, far),
        Direction::Outbound | Direction::Gateway => of_client(connection, far),
    }
}

fn of_client(connection: &Connection, far: &Far<'_>) -> Ends {
    let worker = &connection.worker;
    let destination = match (far.peer, far.endpoint) {
        (Some(peer), _) => Rc::clone(peer),
        (None, Some(endpoint)) => worker.names.workload(&endpoint.workload),
        (None, None) => worker.names.unknown(),
    };
    Ends {
        reporter: Reporter::Source,
        source: Rc::clone(&worker.own),
        source_principal: far.principal.map(|_| Rc::clone(&worker.own_principal)),
        destination,
        destination_principal: far.principal.cloned(),
        service: service(connection, far),
        policy: SecurityPolicy::Unknown,
    }
}

fn of_server(connection: &Connection, far: &Far<'_>) -> Ends {
    let worker = &connection.worker;
    let source = far.peer.map_or_else(|| worker.names.unknown(), Rc::clone);
    let principal = connection.principal();
    Ends {
        reporter: Reporter::Destination,
        source,
        source_principal: principal.cloned(),
        destination: Rc::clone(&worker.own),
        destination_principal: principal.map(|_| Rc::clone(&worker.own_principal)),
        service: service(connection, far),
        policy: match principal {
            Some(_) => SecurityPolicy::MutualTls,
            None => SecurityPolicy::None,
        },
    }
}

/// The cluster's service; where the cluster names no host, the client's proxy takes the
/// request's, as Istio's host header fallback does.
fn service(connection: &Connection, far: &Far<'_>) -> Rc<Service> {
    let names = &connection.worker.names;
    let Some(cluster) = far.cluster else {
        return names.service_named(UNKNOWN, UNKNOWN, UNKNOWN);
    };
    match far.host {
        Some(host)
            if *cluster.service.host == *UNKNOWN && connection.direction != Direction::Inbound =>
        {
            names.service_named(host, &cluster.service.name, &cluster.service.namespace)
        }
        _ => names.service(cluster),
    }
}
