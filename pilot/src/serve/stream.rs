//! The task of one ADS stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use mesh_identity::SpiffeId;
use mesh_telemetry::drain::Phase;
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::server::grpc::EncodedResponse;
use mesh_xds::server::{Received, Session, Verdict};
use mesh_xds::type_url::{CLUSTER, ENDPOINT, PUSH_ORDER, SECRET, short};
use mesh_xds::{NameSet, Scope};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::connections::Registration;
use super::secret_readers::ASKED_AGAIN_AFTER;
use super::throttle::{Place, at};
use super::{Access, Handle, Shared, authorize};
use crate::push::{Published, Push};
use crate::translate::{self, Proxy, ProxyKind};

/// How long a new stream may take to say who it is.
const FIRST_REQUEST_TIME: Duration = Duration::from_secs(30);

/// Variant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Variant {
    /// Incremental.
    #[serde(rename = "delta")]
    Delta,
    /// Whole sets.
    #[serde(rename = "sotw")]
    StateOfTheWorld,
}

impl Variant {
    /// The word in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Variant::Delta => "delta",
            Variant::StateOfTheWorld => "sotw",
        }
    }
}

/// What is known of the caller before it says anything.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) access: Access,
    pub(super) identity: Option<SpiffeId>,
    pub(super) variant: Variant,
}

/// Serves a stream until either side ends it.
pub(super) async fn serve<S, R>(
    shared: Shared,
    caller: Caller,
    requests: R,
    responses: mpsc::Sender<Result<EncodedResponse, Status>>,
) where
    S: Session,
    R: Stream<Item = Result<S::Request, Status>> + Unpin,
{
    let _in_flight = shared.drain.enter();
    let drain = shared.drain.clone();
    let ended = tokio::select! {
        ended = run::<S, R>(&shared, &caller, requests, &responses) => ended,
        () = drain.reached(Phase::Closing) => Err(Status::unavailable("discovery is shutting down")),
    };
    if let Err(status) = ended {
        let reason = match status.code() {
            Code::PermissionDenied => Some("permission denied"),
            Code::InvalidArgument => Some("invalid node"),
            _ => None,
        };
        if let Some(reason) = reason {
            shared.metrics.refused_stream(reason);
            tracing::warn!(status = status.message(), "xds stream turned away");
        }
        // The client may be gone already; then nobody needs to know.
        let _ = responses.try_send(Err(status));
    }
}

async fn run<S, R>(
    shared: &Shared,
    caller: &Caller,
    mut requests: R,
    responses: &mpsc::Sender<Result<EncodedResponse, Status>>,
) -> Result<(), Status>
where
    S: Session,
    R: Stream<Item = Result<S::Request, Status>> + Unpin,
{
    let first = match tokio::time::timeout(FIRST_REQUEST_TIME, requests.next()).await {
        Err(_) => return Err(Status::deadline_exceeded("no request came")),
        Ok(None) => return Ok(()),
        Ok(Some(first)) => first?,
    };
    // Nothing is answered before everything is known: half a configuration would be taken for
    // the whole, and what it lacks removed.
    let latest = shared
        .latest
        .clone()
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|it| it.clone());
    let Some(published) = latest else {
        return Err(Status::unavailable("discovery is shutting down"));
    };
    let proxy = identify(S::node(&first), caller, &published)?;
    let _connected = shared.metrics.connected(caller.variant);
    let id = shared.connections.number();
    let registration =
        shared
            .connections
            .register(id, Arc::new(proxy), caller.variant, caller.identity.clone());
    let connection = Arc::clone(&registration.connection);
    tracing::info!(
        connection = id,
        proxy = connection.proxy.id,
        variant = caller.variant.as_str(),
        "proxy connected"
    );
    let mut client = Client {
        session: S::new(id, shared.interner.clone()),
        place: Place::default(),
        connection,
        caller,
        shared,
        responses,
        secrets_due: None,
    };
    let ended = client.converse(first, requests).await;
    tracing::info!(
        connection = id,
        proxy = client.connection.proxy.id,
        "proxy disconnected"
    );
    drop::<Registration>(registration);
    ended
}

fn identify(node: Option<&Node>, caller: &Caller, published: &Published) -> Result<Proxy, Status> {
    let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
    let mut proxy =
        Proxy::from_node(node).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if caller.access == Access::Identified
        && let Some(identity) = &caller.identity
    {
        authorize(
            identity,
            &proxy,
            published.snapshot.mesh.trust_domain.as_str(),
        )?;
        if proxy.service_account.is_empty() {
            identity
                .service_account_name()
                .unwrap_or_default()
                .clone_into(&mut proxy.service_account);
        }
    }
    Ok(proxy)
}

/// One connected proxy.
struct Client<'a, S: Session> {
    session: S,
    place: Place,
    connection: Handle,
    caller: &'a Caller,
    shared: &'a Shared,
    responses: &'a mpsc::Sender<Result<EncodedResponse, Status>>,
    /// When to look again whether a gateway that was denied secrets may have them.
    secrets_due: Option<tokio::time::Instant>,
}

/// The client is gone.
struct Gone;

impl<S: Session> Client<'_, S> {
    async fn converse<R>(&mut self, first: S::Request, mut requests: R) -> Result<(), Status>
    where
        R: Stream<Item = Result<S::Request, Status>> + Unpin,
    {
        if self.receive(&first).await.is_err() {
            return Ok(());
        }
        let connection = Arc::clone(&self.connection);
        loop {
            let done = tokio::select! {
                request = requests.next() => match request {
                    None => return Ok(()),
                    Some(Ok(request)) => self.receive(&request).await,
                    // Broken by the client or the network: no news for either side.
                    Some(Err(_)) => return Ok(()),
                },
                push = connection.mailbox.next() => self.push(&push).await,
                () = at(self.secrets_due) => self.retry_secrets().await,
                () = self.place.overstayed() => {
                    self.place.leave();
                    Ok(())
                }
            };
            if done.is_err() {
                return Ok(());
            }
        }
    }

    async fn receive(&mut self, request: &S::Request) -> Result<(), Gone> {
        let Received {
            type_url,
            verdict,
            due,
        } = self.session.receive(request);
        if matches!(verdict, Verdict::Ack | Verdict::Nack(_)) {
            self.place.answered(&type_url);
        }
        if let Verdict::Nack(reason) = &verdict {
            self.shared.metrics.rejected(&type_url);
            tracing::warn!(
                proxy = self.connection.proxy.id,
                kind = short(&type_url),
                reason,
                "proxy refused configuration, it keeps the last good one"
            );
        }
        let sent = match due {
            Some(scope) => self.update(&type_url, &scope, None).await,
            None => Ok(()),
        };
        self.note(&type_url);
        sent
    }

    /// Brings the proxy up to date with a change, type by type in the order in which nothing
    /// refers to what is not there yet.
    async fn push(&mut self, push: &Push) -> Result<(), Gone> {
        let types = translate::affected(&push.change, &self.connection.proxy);
        for type_url in PUSH_ORDER {
            if !types.contains(type_url) {
                continue;
            }
            let scope = if type_url == ENDPOINT && !types.clusters {
                self.touched_endpoints(push)
            } else {
                Scope::All
            };
            if let Some(scope) = self.session.begin(type_url, scope) {
                self.update(type_url, &scope, Some(push.since)).await?;
            }
            self.note(type_url);
        }
        self.shared.metrics.converged(push.since.elapsed());
        Ok(())
    }

    /// Of the endpoints that the proxy subscribed to, those that a change may have touched.
    fn touched_endpoints(&self, push: &Push) -> Scope {
        let Some(subscription) = self.session.subscription(ENDPOINT) else {
            return Scope::Only(NameSet::default());
        };
        if subscription.wildcard {
            return Scope::All;
        }
        Scope::Only(push.touched(&subscription.names))
    }

    async fn update(
        &mut self,
        type_url: &str,
        scope: &Scope,
        since: Option<Instant>,
    ) -> Result<(), Gone> {
        let changed = self.send(type_url, scope).await?;
        // A proxy may wait for the endpoints of a cluster that it replaces.
        if type_url == CLUSTER
            && let Some(scope) = self.session.renew(ENDPOINT, &changed)
        {
            self.send(ENDPOINT, &scope).await?;
            self.note(ENDPOINT);
        }
        if let Some(since) = since {
            tracing::trace!(kind = short(type_url), elapsed = ?since.elapsed(), "pushed");
        }
        Ok(())
    }

    /// Translates and writes what differs; returns the names that it wrote.
    async fn send(&mut self, type_url: &str, scope: &Scope) -> Result<Vec<Arc<str>>, Gone> {
        let granted = type_url != SECRET
            || match Box::pin(self.may_have_secrets()).await {
                Some(granted) => granted,
                None => return Ok(Vec::new()),
            };
        self.place.take(&self.shared.throttle, scope).await;
        let started = Instant::now();
        let Some(published) = self.shared.latest.borrow().clone() else {
            return Ok(Vec::new());
        };
        self.connection.served_from(&published.version);
        let resources = if granted {
            translate::resources(&published.snapshot, &self.connection.proxy, type_url, scope)
        } else {
            Vec::new()
        };
        let outgoing = self
            .session
            .send(type_url, scope, &resources, &published.version);
        let bytes = outgoing.as_ref().map_or(0, |outgoing| outgoing.bytes);
        self.place.sent(type_url, bytes);
        let Some(outgoing) = outgoing else {
            return Ok(Vec::new());
        };
        let count = outgoing.changed.len() + outgoing.removed.len();
        tracing::debug!(
            connection = self.connection.id,
            kind = short(type_url),
            changed = outgoing.changed.len(),
            removed = outgoing.removed.len(),
            bytes,
            version = published.version,
            "push"
        );
        self.responses
            .send(Ok(outgoing.response))
            .await
            .map_err(|_| Gone)?;
        self.shared
            .metrics
            .pushed(type_url, count, bytes, started.elapsed());
        Ok(outgoing.changed)
    }

    /// Secrets go to callers whose namespace is proven only (anyone can claim one), and who have the right
    /// to them. `None`: whether they have it is not known now; then what they were sent stays theirs.
    async fn may_have_secrets(&mut self) -> Option<bool> {
        let proxy = Arc::clone(&self.connection.proxy);
        let identity = self
            .caller
            .identity
            .as_ref()
            .filter(|_| self.caller.access == Access::Identified)
            .filter(|identity| identity.namespace() == Some(proxy.namespace.as_str()));
        let Some(identity) = identity else {
            tracing::warn!(
                proxy = proxy.id,
                "secrets are given on the authenticated port (15012) only"
            );
            return Some(false);
        };
        let Some(readers) = &self.shared.secret_readers else {
            return Some(true);
        };
        // Sidecars have none in any case.
        if proxy.kind != ProxyKind::Router {
            return Some(false);
        }
        let account = identity.service_account_name().unwrap_or_default();
        let granted = readers.contain(&proxy.namespace, account).await;
        let again = granted != Some(true);
        self.secrets_due = again.then(|| tokio::time::Instant::now() + ASKED_AGAIN_AFTER);
        granted
    }

    /// The rights may have been granted since.
    async fn retry_secrets(&mut self) -> Result<(), Gone> {
        self.secrets_due = None;
        let sent = match self.session.begin(SECRET, Scope::All) {
            Some(scope) => self.update(SECRET, &scope, None).await,
            None => Ok(()),
        };
        self.note(SECRET);
        sent
    }

    fn note(&self, type_url: &str) {
        self.connection
            .note(type_url, self.session.status(type_url));
    }
}
