//! Tokens verified by the API server (TokenReview): it knows its keys, and whether the service
//! account and the pod to which a token is bound still exist.
//!
//! What it affirmed is remembered for [`REMEMBERED`], so that proxies that come back all at once
//! do not ask it twice for their certificate and their configuration. Refusals are not
//! remembered.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use mesh_kubernetes::explain;
use mesh_kubernetes::kube::api::{ObjectMeta, PostParams};
use mesh_kubernetes::kube::{Api, Client};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{Caller, TokenError, expired, other_audience, service_account};

/// For so long a token that was revoked, because its pod or account was deleted, still counts.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Tokens remembered at once; above it the API server is asked each time.
const MOST_REMEMBERED: usize = 10_000;
/// Questions to the API server at once: a mesh that restarts must not take all that it serves.
const AT_ONCE: usize = 32;
/// Time limit of a question, waiting included; proxies wait 10 s for their certificate.
const LIMIT: Duration = Duration::from_secs(8);
/// A token that has ended no longer ago is asked about: our clock may be ahead of the API server's.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
/// Where the API server says which pod a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// The group of every service account.
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Asks the API server.
pub(super) struct Reviewer {
    reviews: Api<TokenReview>,
    audience: String,
    affirmed: Mutex<HashMap<[u8; 32], Affirmed>>,
    slots: Semaphore,
}

/// A token that the API server affirmed.
struct Affirmed {
    caller: Caller,
    until: SystemTime,
}

/// What a token says of itself, to save a question about one that can't be good.
#[derive(Deserialize)]
struct Claims {
    exp: Option<u64>,
    #[serde(default)]
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audiences {
    fn contain(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl Reviewer {
    pub(super) fn new(client: Client, audience: &str) -> Self {
        Self {
            reviews: Api::all(client),
            audience: audience.to_owned(),
            affirmed: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let now = SystemTime::now();
        let expires = not_hopeless(token, &self.audience, now)?;
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(affirmed) = self.affirmed.lock().get(&hash)
            && now < affirmed.until
        {
            return Ok(affirmed.caller.clone());
        }
        let status = self.ask(token).await?;
        let caller = affirmed_caller(status, &self.audience)?;
        self.remember(hash, &caller, expires.min(now + REMEMBERED), now);
        Ok(caller)
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, TokenError> {
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![self.audience.clone()]),
            },
            status: None,
        };
        let parameters = PostParams::default();
        let answer = async {
            let _slot = self.slots.acquire().await;
            Box::pin(self.reviews.create(&parameters, &review)).await
        };
        let reason = match tokio::time::timeout(LIMIT, answer).await {
            Ok(Ok(answered)) => return Ok(answered.status.unwrap_or_default()),
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        Err(TokenError::Review { reason })
    }

    fn remember(&self, hash: [u8; 32], caller: &Caller, until: SystemTime, now: SystemTime) {
        let mut affirmed = self.affirmed.lock();
        if affirmed.len() >= MOST_REMEMBERED {
            affirmed.retain(|_, affirmed| now < affirmed.until);
        }
        if affirmed.len() < MOST_REMEMBERED {
            let caller = caller.clone();
            affirmed.insert(hash, Affirmed { caller, until });
        }
    }
}

/// When the token ends, unless its own words suffice to refuse it. Nothing that it says is
/// believed otherwise.
fn not_hopeless(token: &str, audience: &str, now: SystemTime) -> Result<SystemTime, TokenError> {
    let claims: Claims =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|error| {
            TokenError::Damaged {
                reason: error.to_string(),
            }
        })?;
    if !claims.aud.contain(audience) {
        return Err(other_audience(audience));
    }
    // Tokens for an audience always end.
    let expires = UNIX_EPOCH
        .checked_add(Duration::from_secs(claims.exp.unwrap_or(0)))
        .unwrap_or(now);
    if expires <= now - CLOCKS_DIFFER {
        return Err(expired());
    }
    Ok(expires)
}

/// The service account that the API server names.
fn affirmed_caller(status: TokenReviewStatus, audience: &str) -> Result<Caller, TokenError> {
    if status.authenticated != Some(true) {
        let reason = status.error.filter(|error| !error.is_empty());
        let reason = reason.unwrap_or_else(|| "the API server does not know it".to_owned());
        return Err(TokenError::Refused { reason });
    }
    // An authenticator that knows no audiences affirms tokens for any of them, and says none.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|one| one == audience) {
        return Err(other_audience(audience));
    }
    let user = status.user.unwrap_or_default();
    let groups = user.groups.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    // The name alone could be that of a user whom another authenticator lets choose it.
    if !groups.iter().any(|group| group == SERVICE_ACCOUNTS) {
        return Err(TokenError::NoServiceAccount {
            reason: format!("{name:?} is not in the group {SERVICE_ACCOUNTS}"),
        });
    }
    let (namespace, service_account) = service_account(&name)?;
    let extra = user.extra.unwrap_or_default();
    Ok(Caller {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: extra.get(POD_NAME).and_then(|names| names.first()).cloned(),
    })
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer")
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn affirmed() -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec!["istio-ca".to_owned()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:default:reviews".to_owned()),
                groups: Some(vec![SERVICE_ACCOUNTS.to_owned()]),
                extra: Some([(POD_NAME.to_owned(), vec!["reviews-1".to_owned()])].into()),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut TokenReviewStatus)) -> String {
        let mut status = affirmed();
        change(&mut status);
        affirmed_caller(status, "istio-ca").unwrap_err().to_string()
    }

    #[test]
    fn believes_the_api_server_who_calls() {
        let caller = affirmed_caller(affirmed(), "istio-ca").unwrap();
        assert_eq!(caller.namespace, "default");
        assert_eq!(caller.service_account, "reviews");
        assert_eq!(caller.pod.as_deref(), Some("reviews-1"));
    }

    #[test]
    fn refuses_what_was_not_affirmed_for_our_audience() {
        let said = refusal(|status| {
            status.authenticated = Some(false);
            status.error = Some("invalid bearer token".to_owned());
        });
        assert!(said.contains("invalid bearer token"), "{said}");
        let said = refusal(|status| status.audiences = None);
        assert!(said.contains("audience is not \"istio-ca\""), "{said}");
    }

    #[test]
    fn a_token_may_say_what_it_likes() {
        use base64::Engine as _;
        let encode = |text: &str| {
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            engine.encode(text)
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ends = |exp: &str| {
            let claims = format!(r#"{{"aud":["api","istio-ca"],"exp":{exp}}}"#);
            let token = format!("{}.{}.x", encode(r#"{"alg":"RS256"}"#), encode(&claims));
            not_hopeless(&token, "istio-ca", now)
        };
        assert!(ends("1000001").is_ok() && ends("999999").is_ok());
        assert!(ends("18446744073709551615").is_ok() && ends("9223372036854775807").is_ok());
        assert!(matches!(ends("999000"), Err(TokenError::Refused { .. })));
        assert!(matches!(ends("-1"), Err(TokenError::Damaged { .. })));
    }

    #[test]
    fn refuses_a_user_who_calls_itself_a_service_account() {
        let said = refusal(|status| {
            status.user.as_mut().unwrap().groups = Some(vec!["system:authenticated".to_owned()]);
        });
        assert!(said.contains("system:serviceaccounts"), "{said}");
    }
}
