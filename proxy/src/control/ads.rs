//! The xDS stream: delta ADS over gRPC, reconnected for ever.
//!
//! Each response is compiled at once and answered with ACK or NACK; then the subscriptions
//! follow what the compiled configuration refers to. With the control plane away, the last
//! snapshot stays in force; a new stream tells the server what is already known.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_telemetry::metrics::{CounterFamily, Gauge};
use mesh_xds::client::{DeltaClient, ProtocolError, Rejection, Update};
use mesh_xds::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh_xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_xds::type_url;
use tokio::sync::mpsc;
use tokio::time::Instant as Timer;
use tonic::{Request, Status};

use super::Control;
use super::backoff::Backoff;
use super::channel::{self, ChannelError, MAX_MESSAGE_BYTES};
use crate::state::chain;

/// First and longest pause between connections. The longest is short, since a refused
/// connection costs next to nothing and a control plane that returns should be seen within 2 s.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// A stream that lasted so long was a good one: the pauses start over.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// A configuration that waits so long for its endpoints, routes or secrets goes in without
/// them. Source: Envoy's `initial_fetch_timeout`.
const WARMING_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests under way to the transport.
const OUTGOING: usize = 64;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("control plane ended the stream ({code:?}): {message}")]
    Refused { code: tonic::Code, message: String },
    #[error("control plane broke the protocol")]
    Protocol(#[from] ProtocolError),
    #[error("control plane closed the stream")]
    Closed,
}

impl From<Status> for StreamError {
    fn from(status: Status) -> Self {
        Self::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

struct Ads {
    control: Rc<Control>,
    client: DeltaClient,
    warming_since: Option<Timer>,
    /// The last error told, so that a long outage does not fill the log.
    reported: Option<String>,
    updates: CounterFamily,
    connected: Gauge,
}

/// Follows the control plane until the task is dropped.
pub async fn run(control: Rc<Control>) {
    let bootstrap = &control.shared.bootstrap;
    let mut client = DeltaClient::new(bootstrap.node.to_proto());
    // No stream is open yet: `connect` will say it.
    let _ = client.subscribe_all(type_url::CLUSTER);
    let _ = client.subscribe_all(type_url::LISTENER);
    let registry = &control.shared.registry;
    let updates = registry.counter(
        "meshproxy_xds_resources_total",
        "Resources that came from the control plane.",
        &["type", "result"],
    );
    let connected = registry
        .gauge(
            "envoy_control_plane_connected_state",
            "1 while a stream to the control plane is open.",
            &[],
        )
        .with(&[]);
    let mut ads = Ads {
        control: Rc::clone(&control),
        client,
        warming_since: None,
        reported: None,
        updates,
        connected,
    };
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let began = Instant::now();
        let error = match Box::pin(ads.stream()).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        ads.set_connected(false);
        if began.elapsed() > GOOD_STREAM {
            backoff.reset();
        }
        let pause = backoff.next_pause();
        ads.report(&error, pause);
        ads.pause(pause).await;
    }
}

impl Ads {
    /// One stream, from connecting to its end.
    async fn stream(&mut self) -> Result<std::convert::Infallible, StreamError> {
        let control = Rc::clone(&self.control);
        let bootstrap = &control.shared.bootstrap;
        let channel = channel::connect(bootstrap, &bootstrap.discovery).await?;
        let (sender, receiver) = mpsc::channel(OUTGOING);
        for request in self.client.connect() {
            send(&sender, request).await?;
        }
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
        channel::authorize(bootstrap, &bootstrap.discovery, request.metadata_mut())?;
        let mut grpc = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut responses = grpc.delta_aggregated_resources(request).await?.into_inner();
        self.set_connected(true);
        self.reported = None;
        tracing::info!(server = %bootstrap.discovery, "stream to the control plane is open");
        loop {
            let warming = self.warming_since.map(|since| since + WARMING_TIMEOUT);
            tokio::select! {
                biased;
                () = at(warming) => self.give_up_warming(),
                response = responses.message() => {
                    let response = response?.ok_or(StreamError::Closed)?;
                    let update = self.client.receive(response)?;
                    for request in self.apply(&update) {
                        send(&sender, request).await?;
                    }
                }
            }
        }
    }

    /// Compiles an update; returns the answer and the changes of subscription.
    fn apply(&mut self, update: &Update) -> Vec<DeltaDiscoveryRequest> {
        let control = Rc::clone(&self.control);
        let resources: Vec<_> = update
            .changed
            .iter()
            .map(|resource| {
                (
                    resource.name.clone(),
                    resource.version.clone(),
                    resource.body.clone(),
                )
            })
            .collect();
        let applied =
            control
                .compiler
                .borrow_mut()
                .apply(&update.type_url, &resources, &update.removed);
        let rejected: Vec<Rejection> = applied
            .rejected
            .iter()
            .map(|one| Rejection {
                name: one.name.clone(),
                reason: one.reason.to_string(),
            })
            .collect();
        self.count(update, &rejected);
        let mut requests = vec![self.client.finish(update, &rejected)];
        self.follow_wanted(&mut requests);
        control.note_received(&update.type_url);
        self.publish(applied.snapshot);
        requests
    }

    fn publish(&mut self, snapshot: Arc<mesh_route::Snapshot>) {
        let control = &self.control;
        if !Arc::ptr_eq(&snapshot, &control.shared.snapshot.load()) {
            control.shared.snapshot.publish(snapshot);
        }
        control.changed.notify_waiters();
        let missing = control.compiler.borrow().missing();
        self.warming_since = if missing == mesh_route::Wanted::default() {
            None
        } else {
            self.warming_since.or_else(|| Some(Timer::now()))
        };
        control.update_readiness();
    }

    fn give_up_warming(&mut self) {
        let missing = self.control.compiler.borrow().missing();
        tracing::warn!(?missing, after = ?WARMING_TIMEOUT, "configuration goes in without what did not come");
        let snapshot = self.control.compiler.borrow_mut().activate_warming();
        self.publish(snapshot);
        // What is still missing was given up; only the next change waits again.
        self.warming_since = None;
    }

    /// Makes the subscriptions equal what the configuration refers to, and drops what is no
    /// longer referred to.
    fn follow_wanted(&mut self, requests: &mut Vec<DeltaDiscoveryRequest>) {
        let wanted = self.control.compiler.borrow().wanted();
        let owned = |names: &BTreeSet<Arc<str>>| {
            names.iter().map(|name| name.as_ref().to_owned()).collect()
        };
        let kinds: [(&str, BTreeSet<String>); 3] = [
            (type_url::ENDPOINT, owned(&wanted.endpoints)),
            (type_url::ROUTE, owned(&wanted.routes)),
            (type_url::SECRET, owned(&wanted.secrets)),
        ];
        for (type_url, names) in kinds {
            let Some(request) = self.client.subscribe(type_url, names) else {
                continue;
            };
            if !request.resource_names_unsubscribe.is_empty() {
                self.control.compiler.borrow_mut().apply(
                    type_url,
                    &[],
                    &request.resource_names_unsubscribe,
                );
            }
            requests.push(request);
        }
    }

    fn count(&self, update: &Update, rejected: &[Rejection]) {
        let kind = update
            .type_url
            .rsplit('.')
            .next()
            .unwrap_or(&update.type_url);
        let accepted = (update.changed.len() + update.removed.len()).saturating_sub(rejected.len());
        self.updates.with(&[kind, "accepted"]).add(accepted as u64);
        tracing::debug!(
            kind,
            changed = update.changed.len(),
            removed = update.removed.len(),
            "configuration came"
        );
        for one in rejected {
            self.updates.with(&[kind, "rejected"]).inc();
            tracing::error!(
                kind,
                name = one.name,
                reason = one.reason,
                "configuration is refused, the last good one stays"
            );
        }
    }

    fn report(&mut self, error: &StreamError, pause: Duration) {
        let error = chain(error);
        let server = &self.control.shared.bootstrap.discovery;
        if self.reported.as_ref() == Some(&error) {
            tracing::debug!(error, %server, retry_in = ?pause, "still no stream to the control plane");
            return;
        }
        tracing::warn!(error, %server, retry_in = ?pause, "no stream to the control plane, the last configuration stays");
        self.reported = Some(error);
    }

    fn set_connected(&self, connected: bool) {
        self.control.connected.set(connected);
        self.connected.set(i64::from(connected));
    }

    /// Waits, and gives up warming meanwhile if its time comes.
    async fn pause(&mut self, pause: Duration) {
        let end = Timer::now() + pause;
        loop {
            let warming = self.warming_since.map(|since| since + WARMING_TIMEOUT);
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = at(warming) => self.give_up_warming(),
            }
        }
    }
}

async fn send(
    sender: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), StreamError> {
    sender.send(request).await.map_err(|_| StreamError::Closed)
}

/// Waits until `deadline`, for ever without one.
async fn at(deadline: Option<Timer>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
