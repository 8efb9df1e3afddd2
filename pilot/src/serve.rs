//! Aggregated discovery over gRPC, both variants, on top of the sans-IO sessions of `mesh_xds`.
//!
//! One task per stream (`stream`): it waits for requests and for mail, translates what is
//! due for its proxy and writes what differs. [`Connections`] is the registry of these tasks,
//! [`debug`] what people may look at.

mod connections;
pub mod debug;
mod metrics;
mod secret_readers;
mod stream;
mod throttle;

use std::sync::Arc;

use mesh_identity::SpiffeId;
use mesh_telemetry::drain;
use mesh_xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_xds::server::grpc::{AdsServer, AggregatedDiscovery, Requests, Responses};
use mesh_xds::server::{DeltaSession, Interner, Session, SotwSession};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

pub use connections::{Connections, ProxyStatus, Refusal, Sync, TypeSync};
pub use metrics::Metrics;
pub use secret_readers::SecretReaders;
pub use stream::Variant;
pub(crate) use throttle::Throttle;

use crate::push::pipeline::Latest;
use crate::translate::Proxy;

/// Longest request that is read: the versions of every resource of a very large mesh.
const REQUEST_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Responses that wait for the network. With one unanswered response per type there are never
/// more than types; a client that doesn't read blocks its own task only.
const RESPONSES_LIMIT: usize = 8;

/// Who may ask on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches it (15010). Secrets are not given out.
    Anyone,
    /// Callers whose verified identity is that of the proxy they say they are (15012). The
    /// identity is a [`SpiffeId`] in the request's extensions, put there by whoever verified
    /// the token or client certificate.
    Identified,
}

/// What all streams share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) latest: Latest,
    pub(crate) connections: Connections,
    pub(crate) interner: Interner,
    pub(crate) throttle: Throttle,
    pub(crate) metrics: Metrics,
    pub(crate) secret_readers: Option<SecretReaders>,
    pub(crate) drain: drain::Watch,
}

/// The service; see [`Pilot::ads_service`](crate::Pilot::ads_service).
#[derive(Clone, Debug)]
pub struct Ads {
    shared: Shared,
    access: Access,
}

impl Ads {
    /// The tonic service for a port with this access.
    pub(crate) fn service(shared: Shared, access: Access) -> AdsServer<Self> {
        AdsServer::new(Self { shared, access }, REQUEST_LIMIT_BYTES)
    }

    fn open<S>(
        &self,
        request: Request<Requests<S::Request>>,
        variant: Variant,
    ) -> Result<Responses, Status>
    where
        S: Session + Send + 'static,
        S::Request: 'static,
    {
        let identity = request.extensions().get::<SpiffeId>().cloned();
        if self.access == Access::Identified && identity.is_none() {
            return Err(Status::unauthenticated(
                "no verified identity: send a service-account token for audience istio-ca, or a client certificate of this mesh",
            ));
        }
        let caller = stream::Caller {
            access: self.access,
            identity,
            variant,
        };
        let (sender, receiver) = mpsc::channel(RESPONSES_LIMIT);
        let requests = request.into_inner();
        tokio::spawn(stream::serve::<S, _>(
            self.shared.clone(),
            caller,
            requests,
            sender,
        ));
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

impl AggregatedDiscovery for Ads {
    fn sotw(&self, request: Request<Requests<DiscoveryRequest>>) -> Result<Responses, Status> {
        self.open::<SotwSession>(request, Variant::StateOfTheWorld)
    }

    fn delta(
        &self,
        request: Request<Requests<DeltaDiscoveryRequest>>,
    ) -> Result<Responses, Status> {
        self.open::<DeltaSession>(request, Variant::Delta)
    }
}

/// Whether this identity may ask as this proxy.
///
/// The namespace must be the identity's, and the service account too if the node names one.
/// Istio's rule.
fn authorize(identity: &SpiffeId, proxy: &Proxy, trust_domain: &str) -> Result<(), Status> {
    let same_domain = identity.trust_domain_str() == trust_domain;
    let same_namespace = identity.namespace() == Some(proxy.namespace.as_str());
    let account = proxy.service_account.as_str();
    let same_account = account.is_empty() || identity.service_account_name() == Some(account);
    if same_domain && same_namespace && same_account {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "{identity} may not ask as node {} (namespace {}, service account {account}) in trust domain {trust_domain}",
        proxy.id, proxy.namespace
    )))
}

/// A handle shared between a stream's task and the registry.
type Handle = Arc<connections::Connection>;

#[cfg(test)]
mod tests;
