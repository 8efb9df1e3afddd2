//! Which gateways get the secrets of their namespace: those whose service account has the right to.
//!
//! Otherwise every workload of a namespace could call itself a gateway and be sent the keys there.
//! Istio asks whether the account may list secrets. That right counts here, too; but an account that
//! has it can read all secrets, the mesh's own in its root namespace among them. So the gateway chart
//! grants another, `get` of `gateways/certificates`: the API server serves nothing by that name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use mesh_kubernetes::explain;
use parking_lot::Mutex;
use tokio::time::Instant;

/// For so long a right that was taken away still counts.
const GRANTED_FOR: Duration = Duration::from_secs(60);
/// For so long no one asks again who was refused, or where no answer came.
pub(super) const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Time limit of a question.
const LIMIT: Duration = Duration::from_secs(3);
/// Accounts remembered at once; above it those go whose answers are old.
const MOST_REMEMBERED: usize = 1000;

/// Namespace and name of a service account.
type Account = (String, String);

/// Asks the API server who may have secrets, and remembers what it said.
#[derive(Clone)]
pub struct SecretReaders {
    reviews: Api<SubjectAccessReview>,
    known: Arc<Mutex<HashMap<Account, Known>>>,
}

impl std::fmt::Debug for SecretReaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretReaders").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Known {
    /// `None`: never answered.
    granted: Option<bool>,
    until: Instant,
}

impl SecretReaders {
    /// Asks by `client`.
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
            known: Arc::default(),
        }
    }

    /// Whether a service account may have the secrets of its namespace. While the API server does
    /// not answer, what it said last counts; `None` if it never did.
    pub(super) async fn contain(&self, namespace: &str, account: &str) -> Option<bool> {
        let key = (namespace.to_owned(), account.to_owned());
        let known = self.known.lock().get(&key).copied();
        if let Some(known) = known
            && Instant::now() < known.until
        {
            return known.granted;
        }
        let before = known.and_then(|known| known.granted);
        let (granted, lasts) = match self.ask(namespace, account).await {
            Ok(true) => (Some(true), GRANTED_FOR),
            Ok(false) => (Some(false), ASKED_AGAIN_AFTER),
            Err(error) => {
                tracing::warn!(namespace, account, error, "cannot ask who may read secrets");
                (before, ASKED_AGAIN_AFTER)
            }
        };
        if granted == Some(false) && before != granted {
            tracing::warn!(
                namespace,
                account,
                "a gateway is given no certificates: its service account has no right to them (grant it get of gateways/certificates in networking.istio.io by a Role)"
            );
        }
        self.remember(key, granted, lasts);
        granted
    }

    fn remember(&self, account: Account, granted: Option<bool>, lasts: Duration) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, known| now < known.until);
        }
        let until = now + lasts;
        known.insert(account, Known { granted, until });
    }

    async fn ask(&self, namespace: &str, account: &str) -> Result<bool, String> {
        Ok(self.has(namespace, account, certificates()).await?
            || self.has(namespace, account, all_secrets()).await?)
    }

    async fn has(
        &self,
        namespace: &str,
        account: &str,
        right: ResourceAttributes,
    ) -> Result<bool, String> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{account}")),
                // As the API server knows every service account.
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    ..right
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let parameters = PostParams::default();
        let answer = Box::pin(self.reviews.create(&parameters, &review));
        match tokio::time::timeout(LIMIT, answer).await {
            Ok(Ok(review)) => Ok(review.status.is_some_and(|status| status.allowed)),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }
}

/// The right that our gateway chart grants.
fn certificates() -> ResourceAttributes {
    ResourceAttributes {
        group: Some("networking.istio.io".to_owned()),
        resource: Some("gateways".to_owned()),
        subresource: Some("certificates".to_owned()),
        verb: Some("get".to_owned()),
        ..ResourceAttributes::default()
    }
}

/// The right that Istio's charts grant.
fn all_secrets() -> ResourceAttributes {
    ResourceAttributes {
        resource: Some("secrets".to_owned()),
        verb: Some("list".to_owned()),
        ..ResourceAttributes::default()
    }
}

#[cfg(test)]
mod tests;
