//! Decides what signs, what is trusted, and what is to be written: the rules of rotation. No IO,
//! no clock.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::CertificateDer;

use super::trust::{self, Trust};
use super::{RootError, Settings, secret};
use crate::authority::{Authority, AuthorityError, Origin, make_root};

/// A self-signed root gets a successor when this part of its life is left: as Istio's, 20 %.
const LIFE_LEFT: f64 = 0.2;

/// The state of one replica.
pub(super) struct Keeper {
    settings: Settings,
    /// Of Secret `cacerts`; the last good one if it is broken now.
    plugged_in: Option<Arc<Authority>>,
    /// Of Secret `istio-ca-secret`, likewise.
    own: Option<Arc<Authority>>,
    next: Option<Arc<Authority>>,
    /// The Secret of `own` and `next`.
    own_secret: Option<Secret>,
    /// `own_secret` is not in the cluster any more.
    own_lost: bool,
    trust: Trust,
    trust_version: Option<String>,
    /// What signs now.
    signing: Option<Arc<Authority>>,
}

/// A Secret to write.
pub(super) enum Write {
    /// One that isn't there.
    Create(Secret),
    /// One that is, in the version that was read.
    Replace(Secret),
}

impl Keeper {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            plugged_in: None,
            own: None,
            next: None,
            own_secret: None,
            own_lost: false,
            trust: Trust::default(),
            trust_version: None,
            signing: None,
        }
    }

    /// Whether there is anything that could sign.
    pub(super) fn has_authority(&self) -> bool {
        self.plugged_in.is_some() || self.own.is_some()
    }

    /// Whether the self-signed root is what this mesh lives by.
    pub(super) fn depends_on_own(&self) -> bool {
        self.plugged_in.is_none() && self.own.is_some()
    }

    /// Takes note of Secret `name`; `None`: it is not there. One that is unusable changes
    /// nothing.
    ///
    /// # Errors
    /// [`RootError`] that names Secret and key.
    pub(super) fn observe(
        &mut self,
        name: &str,
        found: Option<Secret>,
        now: SystemTime,
    ) -> Result<(), RootError> {
        match name {
            secret::PLUGGED_IN => {
                let material = found.as_ref().map(secret::plugged_in).transpose()?;
                self.plugged_in = match material.flatten() {
                    Some(material) => Some(self.load(&material, now)?),
                    None => None,
                };
            }
            secret::SELF_SIGNED => self.observe_own(found, now)?,
            _ => {
                self.trust = match &found {
                    Some(kept) => Trust::from_secret(kept)?,
                    None => Trust::default(),
                };
                self.trust_version = found.and_then(|kept| kept.metadata.resource_version);
            }
        }
        Ok(())
    }

    fn observe_own(
        &mut self,
        found: Option<Secret>,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let Some(found) = found else {
            self.own_lost = self.own_secret.is_some();
            return Ok(());
        };
        let own = self.load(&secret::self_signed(&found)?, now)?;
        let next = match secret::next(&found)? {
            Some(material) => Some(self.load(&material, now)?),
            None => None,
        };
        (self.own, self.next) = (Some(own), next);
        (self.own_secret, self.own_lost) = (Some(found), false);
        Ok(())
    }

    fn load(
        &self,
        material: &crate::authority::Material,
        now: SystemTime,
    ) -> Result<Arc<Authority>, AuthorityError> {
        let options = self.settings.authority.clone();
        Authority::from_material(material, options, now).map(Arc::new)
    }

    /// What signs now, with the roots that are given out; `None` while there is nothing.
    ///
    /// # Errors
    /// [`AuthorityError`] if a root on record is none.
    pub(super) fn decide(&mut self, now: SystemTime) -> Result<Option<Authority>, AuthorityError> {
        self.signing = self.choose(&self.candidates(), timestamp(now));
        let Some(signing) = &self.signing else {
            return Ok(None);
        };
        let roots = self.trust_due(signing, now).roots();
        let trusting = signing.trusting(&roots);
        trusting
            .map(Some)
            .map_err(|error| AuthorityError::Unusable {
                place: format!("Secret {}/{}", self.settings.namespace, trust::NAME),
                reason: error.to_string(),
            })
    }

    /// The record of trusted roots as it must be.
    fn trust_due(&self, signing: &Authority, now: SystemTime) -> Trust {
        let candidates = self.candidates();
        let listed = candidates.iter().flat_map(|one| one.own_roots());
        let longest = self.settings.authority.max_ttl;
        self.trust
            .advanced(listed, signing.anchor(), longest, timestamp(now))
    }

    /// What might sign, the preferred one first.
    fn candidates(&self) -> Vec<Arc<Authority>> {
        let mut candidates = Vec::new();
        if let Some(plugged_in) = &self.plugged_in {
            candidates.push(plugged_in);
            // A self-signed root left from earlier goes on only until the plugged-in one may.
            candidates.extend(self.own.iter().filter(|own| self.trust.signs(own.anchor())));
        } else {
            candidates.extend(&self.next);
            candidates.extend(&self.own);
        }
        // What signs now goes on even if its Secret has another content by now.
        candidates.extend(&self.signing);
        let mut distinct: Vec<Arc<Authority>> = Vec::new();
        for candidate in candidates {
            let known = |one: &Arc<Authority>| one.certificate() == candidate.certificate();
            if !distinct.iter().any(known) {
                distinct.push(Arc::clone(candidate));
            }
        }
        distinct
    }

    fn choose(&self, candidates: &[Arc<Authority>], now: Timestamp) -> Option<Arc<Authority>> {
        let propagation = self.settings.propagation;
        let propagated =
            |one: &&Arc<Authority>| self.trust.propagated(one.anchor(), propagation, now);
        let is = |certificate: &CertificateDer<'_>| {
            candidates
                .iter()
                .find(|one| one.certificate() == certificate)
        };
        candidates
            .iter()
            .find(propagated)
            .or_else(|| is(self.signing.as_ref()?.certificate()))
            .or_else(|| candidates.iter().find(|one| self.trust.signs(one.anchor())))
            // A start without any record: a successor must not be the first to sign.
            .or_else(|| {
                candidates
                    .iter()
                    .find(|one| one.origin() == Origin::PluggedIn)
            })
            .or(candidates.last())
            .cloned()
    }

    /// What the leader has to write, after [`Keeper::decide`].
    ///
    /// # Errors
    /// [`AuthorityError::Generate`] if no successor can be made.
    pub(super) fn writes(&self, now: SystemTime) -> Result<Vec<Write>, AuthorityError> {
        let Some(signing) = &self.signing else {
            return Ok(Vec::new());
        };
        let mut writes = Vec::new();
        let trust = self.trust_due(signing, now);
        if trust != self.trust {
            let version = self.trust_version.clone();
            let kept = trust.to_secret(&self.settings.namespace, version);
            writes.push(match self.trust_version {
                Some(_) => Write::Replace(kept),
                None => Write::Create(kept),
            });
        }
        if self.plugged_in.is_none() {
            writes.extend(self.own_write(signing, now)?);
        }
        Ok(writes)
    }

    /// What becomes of the self-signed root: made, restored, or succeeded.
    fn own_write(
        &self,
        signing: &Authority,
        now: SystemTime,
    ) -> Result<Option<Write>, AuthorityError> {
        let new_root = || make_root(&self.settings.authority.trust_domain, now);
        let (Some(own), Some(kept)) = (&self.own, &self.own_secret) else {
            tracing::info!("made a self-signed root: the plugged-in authority is gone");
            let (certificate, key) = new_root()?;
            let namespace = &self.settings.namespace;
            let new = secret::new_self_signed(namespace, &certificate, &key);
            return Ok(Some(Write::Create(new)));
        };
        if self.own_lost {
            return Ok(Some(Write::Create(secret::recreated(kept))));
        }
        let write = match &self.next {
            Some(next) if next.certificate() == signing.certificate() => {
                tracing::info!("the self-signed root's successor takes its place");
                secret::promoted(kept.clone())
            }
            None if aged(own, now) || secret::rotation_asked(kept) => {
                tracing::info!("the self-signed root gets a successor");
                let (certificate, key) = new_root()?;
                secret::with_next(kept.clone(), certificate, key)
            }
            _ => return Ok(None),
        };
        Ok(Some(Write::Replace(write)))
    }
}

fn timestamp(now: SystemTime) -> Timestamp {
    Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn aged(root: &Authority, now: SystemTime) -> bool {
    let info = root.info();
    let life = info
        .not_after
        .duration_since(info.not_before)
        .unwrap_or_default();
    now + life.mul_f64(LIFE_LEFT) >= info.not_after
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
