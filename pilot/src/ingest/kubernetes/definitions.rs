//! Which kinds of the mesh the cluster has, and in which version.
//!
//! The definitions of custom resources are watched (their names: schemas are huge); when one
//! appears, goes or changes, the API server is asked which versions it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::{Client, Error};
use mesh_config::Kind;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::collection::Collection;
use super::cursor::Told;
use super::follow::Follower;
use super::objects::Objects;
use super::watch::Watch;
use crate::ingest::{Closed, Problem};

/// How often the server is asked again while it has a definition but doesn't serve it yet.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// How long a new definition may take until it is served. Then it is as good as missing.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// What the cluster has of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It is not known yet.
    Unknown,
    /// There is no definition.
    Missing,
    /// There is one, but without any version that we know.
    Unusable,
    /// The newest version that both sides know.
    Version(&'static str),
}

/// Watches the definitions.
pub(super) struct Definitions {
    client: Client,
    kinds: BTreeMap<Kind, watch::Sender<Served>>,
    /// Names of those of our kinds that exist.
    present: BTreeSet<String>,
    listed: Option<BTreeSet<String>>,
    /// The server has to be asked; since when.
    pending: Option<Instant>,
}

impl Definitions {
    /// Of all kinds of the mesh; what becomes known of each is told to its receiver.
    pub(super) fn new(client: Client) -> (Self, Vec<(Kind, watch::Receiver<Served>)>) {
        let (kinds, receivers) = Kind::ALL
            .into_iter()
            .map(|kind| {
                let (sender, receiver) = watch::channel(Served::Unknown);
                ((kind, sender), (kind, receiver))
            })
            .unzip();
        let definitions = Self {
            client,
            kinds,
            present: BTreeSet::new(),
            listed: None,
            pending: None,
        };
        (definitions, receivers)
    }

    /// Watches for good.
    pub(super) async fn run(mut self, follower: Follower) -> Result<(), Closed> {
        let mut watch = Watch::new(self.client.clone(), Collection::definitions());
        let mut trouble = follower.trouble();
        loop {
            // Half of a list says nothing about what is missing.
            let retry = self.pending.filter(|_| self.listed.is_none());
            let retry = retry.map(|_| tokio::time::sleep(RETRY_TIME));
            let step = tokio::select! {
                step = watch.next() => step,
                Some(()) = optional(retry) => Ok(Vec::new()),
            };
            match step {
                Ok(told) => {
                    follower.over(&mut trouble).await?;
                    self.take(told);
                }
                Err(failure) => {
                    follower
                        .meet(&mut trouble, watch.collection(), &failure)
                        .await?
                }
            }
            if self.pending.is_some() {
                self.ask().await;
            }
        }
    }

    /// Notes what definitions exist.
    fn take(&mut self, told: Vec<Told>) {
        for told in told {
            match told {
                Told::Listing => self.listed = Some(BTreeSet::new()),
                Told::Set(object) => {
                    if let Some(name) = ours(&object) {
                        if let Some(listed) = &mut self.listed {
                            listed.insert(name.clone());
                        }
                        self.present.insert(name);
                        self.pending = Some(Instant::now());
                    }
                }
                Told::Gone(object) => {
                    if let Some(name) = ours(&object) {
                        self.present.remove(&name);
                        self.pending = Some(Instant::now());
                    }
                }
                Told::Listed => {
                    self.present = self.listed.take().unwrap_or_default();
                    self.pending = Some(Instant::now());
                }
            }
        }
    }

    /// Asks the server for the versions, and tells who waits for them.
    async fn ask(&mut self) {
        let (Some(since), None) = (self.pending, &self.listed) else {
            return;
        };
        let Ok(served) = versions(&self.client).await else {
            return;
        };
        let settled = since.elapsed() > SETTLE_TIME;
        let mut waiting = false;
        for (kind, sender) in &self.kinds {
            let found = match (self.present.contains(&name(*kind)), served.get(kind)) {
                (false, _) => Served::Missing,
                (true, Some(version)) => Served::Version(version),
                (true, None) if settled => Served::Unusable,
                (true, None) => {
                    waiting = true;
                    continue;
                }
            };
            sender.send_if_modified(|known| std::mem::replace(known, found) != found);
        }
        if !waiting {
            self.pending = None;
        }
    }
}

/// The newest known version of each of our kinds that the server serves.
async fn versions(client: &Client) -> Result<BTreeMap<Kind, &'static str>, Error> {
    let mut served = BTreeMap::new();
    let groups: BTreeMap<_, _> = Kind::ALL.map(|kind| (kind.group(), kind.versions())).into();
    for (group, versions) in groups {
        for version in versions {
            let resources = match client
                .list_api_group_resources(&format!("{group}/{version}"))
                .await
            {
                Ok(list) => list.resources,
                Err(Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            for kind in resources
                .iter()
                .filter_map(|resource| Kind::find(group, &resource.kind))
            {
                served.entry(kind).or_insert(*version);
            }
        }
    }
    Ok(served)
}

/// The name of the kind's definition.
fn name(kind: Kind) -> String {
    Collection::of_mesh(kind, "v1").name()
}

/// The name of a definition, if it is of one of our kinds.
fn ours(object: &Value) -> Option<String> {
    let found = object.pointer("/metadata/name")?.as_str()?;
    Kind::ALL.into_iter().map(name).find(|name| name == found)
}

/// Watches the objects of a mesh kind for good, in whichever version the cluster has it.
pub(super) async fn follow_kind(
    kind: Kind,
    mut served: watch::Receiver<Served>,
    mut follower: Follower,
    mut objects: Objects,
) -> Result<(), Closed> {
    loop {
        let now = *served.borrow_and_update();
        if let Served::Version(version) = now {
            follower.tell(name(kind), Vec::new()).await?;
            tokio::select! {
                result = follower.follow(Collection::of_mesh(kind, version), &mut objects) => return result,
                changed = served.changed() => if changed.is_err() { return Ok(()) },
            }
            continue;
        }
        if now != Served::Unknown {
            follower.tell(name(kind), vec![absent(kind, now)]).await?;
            follower.report(kind.as_str(), objects.clear()).await?;
            follower.initially_done().await?;
        }
        if served.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn absent(kind: Kind, served: Served) -> Problem {
    let problem = match served {
        Served::Unusable => format!("serves none of the versions {}", kind.versions().join(", ")),
        _ => "is not installed".to_owned(),
    };
    Problem {
        file: super::NAME.to_owned(),
        object: format!("CustomResourceDefinition {}", name(kind)),
        field: String::new(),
        problem: format!("{problem}: the mesh has no {kind} until it does"),
        remedy: "install the mesh's custom resource definitions: `meshctl install`, or chart base"
            .to_owned(),
    }
}

async fn optional(sleep: Option<tokio::time::Sleep>) -> Option<()> {
    sleep?.await;
    Some(())
}

#[cfg(test)]
mod tests;
