//! Who asks on the secure port: the service account of the bearer token.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use mesh_citadel::{Live, Verifier, service};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tower::Service;

/// Verifies callers before a service sees their request.
#[derive(Clone)]
pub(crate) struct Authentication {
    verifier: Arc<Verifier>,
    authority: Live,
}

impl Authentication {
    /// Callers have tokens that `verifier` knows, and identities of `authority`'s trust domain.
    pub(crate) fn new(verifier: Arc<Verifier>, authority: Live) -> Self {
        Self {
            verifier,
            authority,
        }
    }

    /// `service` behind the check; it finds the caller's SPIFFE id in the request's extensions.
    pub(crate) fn guard<S>(self, service: S) -> Guarded<S> {
        Guarded {
            authentication: self,
            service,
        }
    }

    async fn identify(&self, request: &mut http::Request<Body>) -> Result<(), Status> {
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let caller = service::authenticate(&self.verifier, &metadata).await?;
        let id = caller
            .spiffe_id(&self.authority.current().options().trust_domain)
            .map_err(|error| {
                Status::permission_denied(format!("caller has no SPIFFE id: {error}"))
            })?;
        request.extensions_mut().insert(id);
        Ok(())
    }
}

/// A gRPC service that only identified callers reach. tonic's own interceptors can't wait, and
/// the API server has to be asked.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    authentication: Authentication,
    service: S,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let authentication = self.authentication.clone();
        // The one that was polled ready answers; its clone waits for the next request.
        let waiting = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, waiting);
        Box::pin(async move {
            match authentication.identify(&mut request).await {
                Ok(()) => service.call(request).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
