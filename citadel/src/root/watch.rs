//! The Secrets as they are in the cluster: read at the start, watched, and written by the leader.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{Stream, StreamExt as _, select_all};
use k8s_openapi::api::core::v1::Secret;
use mesh_kubernetes::kube::api::PostParams;
use mesh_kubernetes::kube::runtime::{WatchStreamExt as _, watcher};
use mesh_kubernetes::kube::{Api, Client, Error};
use mesh_kubernetes::{answered, explain};
use tokio::sync::watch;

use super::keeper::{Keeper, Write};
use super::{OpenError, Settings, secret, trust};
use crate::authority::{Authority, make_root};
use crate::live::Live;

/// How often the rules are asked without news: for what is due by the clock.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Every Secret of the authority.
const NAMES: [&str; 3] = [trust::NAME, secret::PLUGGED_IN, secret::SELF_SIGNED];

/// The authority of the cluster. [`Root::run`] keeps it up to date.
pub struct Root {
    secrets: Api<Secret>,
    keeper: Keeper,
    look_every: Duration,
    publisher: watch::Sender<Arc<Authority>>,
    live: Live,
    /// Writes that failed the last time: said once, not every five seconds.
    trouble: bool,
    /// Secrets that are unusable, and may become good by the clock alone.
    refused: BTreeMap<String, Secret>,
}

/// Reads the Secrets; makes the root if there is none.
pub(super) async fn open(client: &Client, settings: &Settings) -> Result<Root, OpenError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    let mut keeper = Keeper::new(settings.clone());
    for name in NAMES {
        let found = secrets.get_opt(name).await?;
        match keeper.observe(name, found, SystemTime::now()) {
            // What is not used need not be in order.
            Err(error) if name == secret::SELF_SIGNED && keeper.has_authority() => {
                tracing::warn!(%error, "not used beside the plugged-in authority");
            }
            observed => observed?,
        }
    }
    if !keeper.has_authority() {
        let made = Box::pin(make(&secrets, settings)).await?;
        keeper.observe(secret::SELF_SIGNED, Some(made), SystemTime::now())?;
    }
    let authority = keeper
        .decide(SystemTime::now())?
        .expect("an authority was read or made just now");
    tracing::info!(
        origin = ?authority.origin(),
        serial = authority.info().serial,
        trust_domain = %authority.options().trust_domain,
        "certificate authority is loaded"
    );
    let (publisher, live) = Live::channel(authority);
    Ok(Root {
        secrets,
        keeper,
        look_every: LOOK_EVERY.min(settings.propagation.max(MILLISECOND) / 4),
        publisher,
        live,
        trouble: false,
        refused: BTreeMap::new(),
    })
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Makes the self-signed root. Of several replicas one succeeds, the others take what it made.
async fn make(secrets: &Api<Secret>, settings: &Settings) -> Result<Secret, OpenError> {
    let (certificate, key) = make_root(&settings.authority.trust_domain, SystemTime::now())
        .map_err(crate::authority::AuthorityError::from)?;
    let new = secret::new_self_signed(&settings.namespace, &certificate, &key);
    match Box::pin(secrets.create(&PostParams::default(), &new)).await {
        Ok(made) => {
            tracing::info!(secret = secret::place(&made), "made a new root certificate");
            Ok(made)
        }
        Err(Error::Api(status)) if status.code == 409 => {
            Ok(secrets.get(secret::SELF_SIGNED).await?)
        }
        Err(error) => Err(error.into()),
    }
}

impl Root {
    /// The authority, always the current one.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Follows the Secrets, and writes them while `leading`. Never returns.
    pub async fn run(mut self, leading: watch::Receiver<bool>) {
        let mut news = select_all(NAMES.map(|name| follow(&self.secrets, name)));
        let mut look = tokio::time::interval(self.look_every);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((name, found)) = news.next() => self.observe(name, found),
                _ = look.tick() => self.retry(),
            }
            self.step(&leading).await;
        }
    }

    /// What is unusable is logged, and the last good state stays.
    fn observe(&mut self, name: &str, found: Option<Secret>) {
        if found.is_none() && name == secret::SELF_SIGNED && self.keeper.depends_on_own() {
            tracing::error!(
                secret = name,
                "the authority's Secret was deleted: it is written again, for without it a restart would make a new root"
            );
        }
        self.refused.remove(name);
        if let Err(error) = self.keeper.observe(name, found.clone(), SystemTime::now()) {
            tracing::error!(%error, "the authority stays as it was");
            self.refused
                .extend(found.map(|found| (name.to_owned(), found)));
        }
    }

    /// A certificate that was issued by a clock ahead of ours is valid a little later.
    fn retry(&mut self) {
        let keeper = &mut self.keeper;
        self.refused.retain(|name, found| {
            let taken = keeper.observe(name, Some(found.clone()), SystemTime::now());
            if taken.is_ok() {
                tracing::info!(secret = name, "it is usable now");
            }
            taken.is_err()
        });
    }

    async fn step(&mut self, leading: &watch::Receiver<bool>) {
        let now = SystemTime::now();
        let decided = self.keeper.decide(now).and_then(|authority| {
            if let Some(authority) = authority {
                self.publish(authority);
            }
            match *leading.borrow() {
                true => self.keeper.writes(now),
                false => Ok(Vec::new()),
            }
        });
        match decided {
            Ok(writes) => {
                for write in writes {
                    self.write(write).await;
                }
            }
            Err(error) => tracing::error!(%error, "the authority stays as it was"),
        }
    }

    fn publish(&self, authority: Authority) {
        self.publisher.send_if_modified(|current| {
            let signer = current.certificate() != authority.certificate();
            let roots = current.root_pem() != authority.root_pem();
            if signer {
                tracing::info!(
                    origin = ?authority.origin(),
                    serial = authority.info().serial,
                    "another certificate signs from now on"
                );
            }
            if roots {
                let roots = authority.bundle().roots(&authority.options().trust_domain);
                tracing::info!(roots = roots.len(), "the trusted roots have changed");
            }
            let changed = signer || roots;
            if changed {
                *current = Arc::new(authority);
            }
            changed
        });
    }

    /// Writes a Secret and takes note of it. If another has written it since, the watch tells.
    async fn write(&mut self, write: Write) {
        let parameters = PostParams::default();
        let (Write::Create(new) | Write::Replace(new)) = &write;
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let request = async {
            match &write {
                Write::Create(new) => self.secrets.create(&parameters, new).await,
                Write::Replace(new) => self.secrets.replace(name, &parameters, new).await,
            }
        };
        let reason = match answered(request).await {
            Ok(written) => {
                self.trouble = false;
                return self.observe(name, Some(written));
            }
            Err(Error::Api(status)) if status.code == 409 => return,
            Err(error) => explain(&error),
        };
        if !std::mem::replace(&mut self.trouble, true) {
            tracing::warn!(secret = name, %reason, "not written");
        }
    }
}

type News = Pin<Box<dyn Stream<Item = (&'static str, Option<Secret>)> + Send>>;

/// Every state of Secret `name`. An API server that is away is asked again and again, at growing
/// intervals.
fn follow(secrets: &Api<Secret>, name: &'static str) -> News {
    let states = watcher::watch_object(secrets.clone(), name).default_backoff();
    Box::pin(states.filter_map(move |state| async move {
        match state {
            Ok(found) => Some((name, found)),
            Err(error) => {
                tracing::debug!(secret = name, %error, "watch ended, and begins again");
                None
            }
        }
    }))
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
