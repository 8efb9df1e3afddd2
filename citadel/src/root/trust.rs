//! Which roots the mesh trusts, since when, and until when. No IO, no clock.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use mesh_identity::certificate::{CertificateInfo, to_pem};
use mesh_identity::{TrustBundle, TrustDomain};
use mesh_kubernetes::kube::api::ObjectMeta;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::{RootError, secret};

/// The Secret that keeps the record. No secret is in it, but whoever may write it may name roots
/// that the whole mesh trusts.
pub(super) const NAME: &str = "citadel-trust";
const KEY: &str = "roots.json";

/// The roots that are given out, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trust {
    roots: Vec<Trusted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Trusted {
    root: CertificateDer<'static>,
    /// Since when it is given out.
    since: Timestamp,
    signs: Signs,
}

/// What is signed under a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Signs {
    /// Nothing yet: it waits, or belongs to another authority.
    Nothing,
    /// Certificates, now.
    Now,
    /// Nothing any longer; the last certificate under it ends then.
    Until(Timestamp),
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    certificate: String,
    since: Timestamp,
    signs: Signs,
}

impl Trust {
    /// The record as it must be now. `listed`: the roots that come with any authority at hand;
    /// `signing`: the root under which is signed now; `longest`: the longest life of what it
    /// signs.
    pub(super) fn advanced<'a>(
        &self,
        listed: impl Iterator<Item = &'a CertificateDer<'static>>,
        signing: &'a CertificateDer<'static>,
        longest: Duration,
        now: Timestamp,
    ) -> Self {
        let mut next = self.clone();
        let mut wanted = vec![signing];
        wanted.extend(listed);
        for root in &wanted {
            if next.find(root).is_none() {
                next.roots.push(Trusted {
                    root: (*root).clone(),
                    since: now,
                    signs: Signs::Nothing,
                });
            }
        }
        for trusted in &mut next.roots {
            trusted.signs = match trusted.signs {
                _ if trusted.root == *signing => Signs::Now,
                Signs::Now => Signs::Until(end(&trusted.root, longest, now)),
                other => other,
            };
        }
        next.roots.retain(|trusted| match trusted.signs {
            Signs::Until(end) if now < end => true,
            _ => wanted.contains(&&trusted.root),
        });
        next
    }

    /// Whether `root` has been given out for `propagation`.
    pub(super) fn propagated(
        &self,
        root: &CertificateDer<'static>,
        propagation: Duration,
        now: Timestamp,
    ) -> bool {
        self.find(root).is_some_and(|trusted| {
            let age = now.duration_since(trusted.since);
            Duration::try_from(age).is_ok_and(|age| age >= propagation)
        })
    }

    /// Whether certificates are signed under `root` by now.
    pub(super) fn signs(&self, root: &CertificateDer<'static>) -> bool {
        self.find(root)
            .is_some_and(|trusted| trusted.signs == Signs::Now)
    }

    /// Every root that is given out, the one under which is signed first.
    pub(super) fn roots(&self) -> Vec<CertificateDer<'static>> {
        let signing = |trusted: &&Trusted| trusted.signs == Signs::Now;
        let first = self.roots.iter().filter(signing);
        let rest = self.roots.iter().filter(|trusted| !signing(trusted));
        first
            .chain(rest)
            .map(|trusted| trusted.root.clone())
            .collect()
    }

    fn find(&self, root: &CertificateDer<'static>) -> Option<&Trusted> {
        self.roots.iter().find(|trusted| trusted.root == *root)
    }

    /// Reads the record.
    pub(super) fn from_secret(kept: &Secret) -> Result<Self, RootError> {
        let damaged = |reason: String| RootError::Trust {
            secret: secret::place(kept),
            key: KEY,
            reason,
        };
        let data = kept.data.as_ref().and_then(|data| data.get(KEY));
        let Some(ByteString(text)) = data else {
            return Err(damaged("it is missing".to_owned()));
        };
        let records: Vec<Record> =
            serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        let trusted = |record: Record| {
            let pem = record.certificate.as_bytes();
            TrustBundle::from_pem(&TrustDomain::default(), pem)
                .map_err(|error| damaged(error.to_string()))?;
            let root =
                CertificateDer::from_pem_slice(pem).map_err(|error| damaged(error.to_string()))?;
            Ok(Trusted {
                root,
                since: record.since,
                signs: record.signs,
            })
        };
        let roots = records
            .into_iter()
            .map(trusted)
            .collect::<Result<_, RootError>>()?;
        Ok(Self { roots })
    }

    /// The record as a Secret; `version`: of the one that it replaces.
    pub(super) fn to_secret(&self, namespace: &str, version: Option<String>) -> Secret {
        let records: Vec<Record> = self.roots.iter().map(record).collect();
        let text = serde_json::to_vec_pretty(&records).unwrap_or_default();
        Secret {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), ByteString(text))].into()),
            ..Secret::default()
        }
    }
}

fn record(trusted: &Trusted) -> Record {
    Record {
        certificate: to_pem(&trusted.root),
        since: trusted.since,
        signs: trusted.signs,
    }
}

/// When the last certificate that was signed under `root` until `now` ends.
fn end(root: &CertificateDer<'_>, longest: Duration, now: Timestamp) -> Timestamp {
    let last = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    CertificateInfo::from_der(root)
        .ok()
        .and_then(|info| Timestamp::try_from(info.not_after).ok())
        .map_or(last, |root_ends| root_ends.min(last))
}
