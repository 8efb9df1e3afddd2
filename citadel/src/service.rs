//! `istio.v1.auth.IstioCertificateService`: the gRPC face of the authority.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_telemetry::metrics::{Counter, Kind, Registry};
use mesh_xds::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use mesh_xds::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::authority::SignError;
use crate::live::Live;
use crate::token::{Caller, TokenError, Verifier};

/// Names and meanings as Istio's, so that its dashboards work.
struct Metrics {
    requests: Counter,
    issued: Counter,
    unauthenticated: Counter,
    bad_requests: Counter,
    sign_errors: Counter,
}

impl Metrics {
    fn new(registry: &Registry, authority: &Live) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]).with(&[]);
        let authority = authority.clone();
        registry.collector(move |encoder| {
            let authority = authority.current();
            let ends = [
                (
                    "citadel_server_root_cert_expiry_timestamp",
                    "Unix time at which the root certificate expires.",
                    authority.root_not_after(),
                ),
                (
                    "citadel_server_cert_chain_expiry_timestamp",
                    "Unix time at which the signing certificate expires.",
                    authority.info().not_after,
                ),
            ];
            for (name, help, end) in ends {
                let since = end.duration_since(SystemTime::UNIX_EPOCH);
                encoder.family(name, help, Kind::Gauge);
                encoder.sample(
                    name,
                    &[],
                    since.map_or(0.0, |since| since.as_secs_f64().floor()),
                );
            }
        });
        Self {
            requests: counter("citadel_server_csr_count", "Signing requests received."),
            issued: counter(
                "citadel_server_success_cert_issuance_count",
                "Certificates issued.",
            ),
            unauthenticated: counter(
                "citadel_server_authentication_failure_count",
                "Signing requests refused because the caller could not be verified.",
            ),
            bad_requests: counter(
                "citadel_server_csr_parsing_err_count",
                "Signing requests that were refused.",
            ),
            sign_errors: counter(
                "citadel_server_csr_sign_err_count",
                "Signing requests that could not be signed.",
            ),
        }
    }
}

/// The certificate service. Make a tonic service of it with [`CaService::into_server`].
pub struct CaService {
    authority: Live,
    verifier: Arc<Verifier>,
    metrics: Metrics,
}

impl CaService {
    /// Joins an authority and a verifier; registers its metrics.
    pub fn new(authority: Live, verifier: Arc<Verifier>, registry: &Registry) -> Self {
        Self {
            metrics: Metrics::new(registry, &authority),
            authority,
            verifier,
        }
    }

    /// As a tonic service.
    pub fn into_server(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self)
    }

    fn sign(
        &self,
        caller: &Caller,
        request: &IstioCertificateRequest,
    ) -> Result<IstioCertificateResponse, Status> {
        refuse_unsupported(request)?;
        let authority = self.authority.current();
        let trust_domain = &authority.options().trust_domain;
        let id = caller.spiffe_id(trust_domain).map_err(|error| {
            Status::permission_denied(format!("caller has no SPIFFE id: {error}"))
        })?;
        // A negative duration is as good as none.
        let ttl = Duration::from_secs(u64::try_from(request.validity_duration).unwrap_or(0));
        let issued = authority
            .sign(&request.csr, &id, ttl, SystemTime::now())
            .map_err(|error| {
                tracing::warn!(%id, pod = caller.pod, %error, "signing request refused");
                self.count(&error);
                status(&error)
            })?;
        self.metrics.issued.inc();
        tracing::info!(%id, pod = caller.pod, serial = issued.info.serial, "certificate issued");
        let mut cert_chain = issued.chain;
        // Istio's clients take the last one as what to trust: several roots during a rotation.
        cert_chain.push(authority.root_pem().to_owned());
        Ok(IstioCertificateResponse { cert_chain })
    }

    fn count(&self, error: &SignError) {
        match error {
            SignError::AuthorityExpired | SignError::Build { .. } => self.metrics.sign_errors.inc(),
            _ => self.metrics.bad_requests.inc(),
        }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CaService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.requests.inc();
        let caller = authenticate(&self.verifier, request.metadata())
            .await
            .inspect_err(|status| {
                self.metrics.unauthenticated.inc();
                tracing::warn!(
                    reason = status.message(),
                    "caller of the certificate service is not verified"
                );
            })?;
        self.sign(&caller, request.get_ref()).map(Response::new)
    }
}

/// Verifies the bearer token in `authorization`. Also for the xDS port, which asks the same.
///
/// # Errors
/// A gRPC status UNAUTHENTICATED that says what is wrong, UNAVAILABLE if no token can be
/// verified now.
pub async fn authenticate(verifier: &Verifier, metadata: &MetadataMap) -> Result<Caller, Status> {
    let token = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Status::unauthenticated("no bearer token in the metadata authorization"))?;
    verifier.verify(token).await.map_err(|error| match &error {
        TokenError::Keys { .. } | TokenError::Review { .. } => {
            Status::unavailable(error.to_string())
        }
        _ => Status::unauthenticated(error.to_string()),
    })
}

/// Wishes in the request's metadata that would change the certificate must not be ignored.
fn refuse_unsupported(request: &IstioCertificateRequest) -> Result<(), Status> {
    let fields = request
        .metadata
        .iter()
        .flat_map(|metadata| metadata.fields.keys());
    for name in fields {
        match name.as_str() {
            // Says which cluster the caller is in: Istio uses it for TokenReview only.
            "ClusterID" => {}
            "ImpersonatedIdentity" => {
                return Err(Status::permission_denied(
                    "impersonation is only for node proxies, which are not supported yet",
                ));
            }
            other => {
                return Err(Status::invalid_argument(format!(
                    "metadata {other} is not supported"
                )));
            }
        }
    }
    Ok(())
}

fn status(error: &SignError) -> Status {
    match error {
        SignError::Damaged { .. } | SignError::NoPossession | SignError::WeakKey { .. } => {
            Status::invalid_argument(error.to_string())
        }
        SignError::OtherIdentity { .. } => Status::permission_denied(error.to_string()),
        SignError::AuthorityExpired | SignError::Build { .. } => {
            Status::internal(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
