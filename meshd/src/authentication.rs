//! Who asks on the secure port: the service account of the bearer token.

use std::sync::Arc;

use mesh_citadel::{Authority, Verifier, service};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

/// Verifies callers before a service sees their request.
#[derive(Clone)]
pub(crate) struct Authentication {
    verifier: Arc<Verifier>,
    authority: Arc<Authority>,
}

impl Authentication {
    /// Callers have tokens that `verifier` knows, and identities of `authority`'s trust domain.
    pub(crate) fn new(verifier: Arc<Verifier>, authority: Arc<Authority>) -> Self {
        Self {
            verifier,
            authority,
        }
    }

    /// `service` behind the check; it finds the caller's SPIFFE id in the request's extensions.
    pub(crate) fn guard<S>(
        self,
        service: S,
    ) -> InterceptedService<S, impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone> {
        InterceptedService::new(service, move |request| self.identify(request))
    }

    fn identify(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = service::authenticate(&self.verifier, request.metadata())?;
        let id = caller
            .spiffe_id(&self.authority.options().trust_domain)
            .map_err(|error| {
                Status::permission_denied(format!("caller has no SPIFFE id: {error}"))
            })?;
        request.extensions_mut().insert(id);
        Ok(request)
    }
}
