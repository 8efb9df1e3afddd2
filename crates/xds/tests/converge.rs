//! A client and a server, joined by a link that loses streams at any moment, end up agreed:
//! whatever the script of changes, deliveries, refusals and reconnects was.

#![allow(clippy::unwrap_used)] // A test may: an integration test's helpers count as none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mesh_xds::client::{DeltaClient, Rejection, SotwClient, Update};
use mesh_xds::envoy::config::cluster::v3::Cluster;
use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_xds::server::grpc::EncodedResponse;
use mesh_xds::server::{DeltaSession, Interner, Session, SotwSession, SyncState};
use mesh_xds::type_url::{CLUSTER, ENDPOINT};
use mesh_xds::{EncodedResource, Scope};
use proptest::prelude::*;
use prost::Message;

/// What the two client machines have in common.
trait Client {
    type Session: Session;
    fn new() -> Self;
    fn connect(&mut self) -> Vec<<Self::Session as Session>::Request>;
    fn subscribe_all(&mut self, type_url: &str) -> Option<<Self::Session as Session>::Request>;
    fn subscribe(&mut self, names: BTreeSet<String>)
    -> Option<<Self::Session as Session>::Request>;
    fn receive(&self, response: EncodedResponse) -> Update;
    fn finish(
        &mut self,
        update: &Update,
        rejected: &[Rejection],
    ) -> <Self::Session as Session>::Request;
}

macro_rules! client {
    ($client:ty, $session:ty) => {
        impl Client for $client {
            type Session = $session;
            fn new() -> Self {
                <$client>::new(Node::default())
            }
            fn connect(&mut self) -> Vec<<$session as Session>::Request> {
                <$client>::connect(self)
            }
            fn subscribe_all(&mut self, type_url: &str) -> Option<<$session as Session>::Request> {
                <$client>::subscribe_all(self, type_url)
            }
            fn subscribe(
                &mut self,
                names: BTreeSet<String>,
            ) -> Option<<$session as Session>::Request> {
                <$client>::subscribe(self, ENDPOINT, names)
            }
            fn receive(&self, response: EncodedResponse) -> Update {
                let response = Message::decode(response.to_bytes()).expect("a response");
                <$client>::receive(self, response).expect("our server keeps the protocol")
            }
            fn finish(
                &mut self,
                update: &Update,
                rejected: &[Rejection],
            ) -> <$session as Session>::Request {
                <$client>::finish(self, update, rejected)
            }
        }
    };
}
client!(DeltaClient, DeltaSession);
client!(SotwClient, SotwSession);

/// A resource whose content is 0 is one that the client refuses.
const BAD: u8 = 0;

#[derive(Debug, Clone)]
enum Step {
    SetCluster(u8, u8),
    RemoveCluster(u8),
    SetEndpoints(u8, u8),
    Subscribe(BTreeSet<u8>),
    PushAll,
    PushEndpoints(u8),
    ToServer,
    ToClient,
    /// The stream breaks: everything under way is lost.
    Break,
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, content) = (0..4u8, 0..4u8);
    prop_oneof![
        2 => (name.clone(), content.clone()).prop_map(|(n, c)| Step::SetCluster(n, c)),
        1 => name.clone().prop_map(Step::RemoveCluster),
        2 => (name.clone(), content).prop_map(|(n, c)| Step::SetEndpoints(n, c)),
        2 => prop::collection::btree_set(name.clone(), 0..4).prop_map(Step::Subscribe),
        3 => Just(Step::PushAll),
        2 => name.prop_map(Step::PushEndpoints),
        8 => Just(Step::ToServer),
        8 => Just(Step::ToClient),
        1 => Just(Step::Break),
        2 => Just(Step::Connect),
    ]
}

struct World<C: Client> {
    client: C,
    /// What the client applied: type and name to version.
    held: BTreeMap<(String, String), String>,
    subscribed: BTreeSet<String>,
    stream: Option<Stream<C>>,
    streams: u64,
    interner: Interner,
    clusters: BTreeMap<u8, u8>,
    endpoints: BTreeMap<u8, u8>,
    /// Resources put on the wire so far.
    resources_sent: usize,
}

struct Stream<C: Client> {
    session: C::Session,
    to_server: VecDeque<<C::Session as Session>::Request>,
    to_client: VecDeque<EncodedResponse>,
}

fn name(number: u8) -> String {
    format!("n{number}")
}

impl<C: Client> World<C> {
    fn new() -> Self {
        let mut client = C::new();
        client.subscribe_all(CLUSTER);
        Self {
            client,
            held: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            stream: None,
            streams: 0,
            interner: Interner::default(),
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            resources_sent: 0,
        }
    }

    fn existing(&self, type_url: &str) -> Vec<EncodedResource> {
        if type_url == CLUSTER {
            let one = |(number, content): (&u8, &u8)| {
                let alt_stat_name = content.to_string();
                let message = Cluster {
                    name: name(*number),
                    alt_stat_name,
                    ..Cluster::default()
                };
                EncodedResource::new(name(*number), &message)
            };
            return self.clusters.iter().map(one).collect();
        }
        let one = |(number, content): (&u8, &u8)| {
            let message = ClusterLoadAssignment {
                cluster_name: name(*number),
                endpoints: vec![Default::default(); usize::from(*content)],
                ..ClusterLoadAssignment::default()
            };
            EncodedResource::new(name(*number), &message)
        };
        self.endpoints.iter().map(one).collect()
    }

    fn connect(&mut self) {
        if self.stream.is_some() {
            return;
        }
        self.streams += 1;
        self.stream = Some(Stream {
            session: C::Session::new(self.streams, self.interner.clone()),
            to_server: self.client.connect().into(),
            to_client: VecDeque::new(),
        });
    }

    fn push(&mut self, type_url: &str, scope: Scope) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if let Some(scope) = stream.session.begin(type_url, scope) {
            self.send(type_url, &scope);
        }
    }

    fn send(&mut self, type_url: &str, scope: &Scope) {
        let existing = self.existing(type_url);
        let stream = self.stream.as_mut().unwrap();
        if let Some(out) = stream.session.send(type_url, scope, &existing, "v") {
            stream.to_client.push_back(out.response);
        }
    }

    /// Whether there was something to deliver.
    fn deliver_request(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some(request) = stream.to_server.pop_front() else {
            return false;
        };
        let received = stream.session.receive(&request);
        if let Some(scope) = received.due {
            self.send(&received.type_url, &scope);
        }
        true
    }

    /// Whether there was something to deliver.
    fn deliver_response(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some(response) = stream.to_client.pop_front() else {
            return false;
        };
        let update = self.client.receive(response);
        self.resources_sent += update.changed.len();
        let bad: BTreeSet<String> = [CLUSTER, ENDPOINT]
            .iter()
            .flat_map(|type_url| {
                let clusters = *type_url == CLUSTER;
                (0..4).map(move |number| bad_version(clusters, number))
            })
            .collect();
        let mut rejected = Vec::new();
        for resource in &update.changed {
            if bad.contains(&resource.version) {
                let reason = "bad".to_owned();
                rejected.push(Rejection {
                    name: resource.name.clone(),
                    reason,
                });
            } else {
                let key = (update.type_url.clone(), resource.name.clone());
                self.held.insert(key, resource.version.clone());
            }
        }
        for name in &update.removed {
            self.held.remove(&(update.type_url.clone(), name.clone()));
        }
        let answer = self.client.finish(&update, &rejected);
        self.stream.as_mut().unwrap().to_server.push_back(answer);
        true
    }

    fn settle(&mut self) {
        while self.deliver_request() || self.deliver_response() {}
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::SetCluster(number, content) => {
                self.clusters.insert(number, content);
            }
            Step::RemoveCluster(number) => {
                self.clusters.remove(&number);
            }
            Step::SetEndpoints(number, content) => {
                self.endpoints.insert(number, content);
            }
            Step::Subscribe(numbers) => {
                let names: BTreeSet<String> = numbers.into_iter().map(name).collect();
                self.held
                    .retain(|(kind, one), _| kind == CLUSTER || names.contains(one));
                self.subscribed.clone_from(&names);
                let request = self.client.subscribe(names);
                if let (Some(stream), Some(request)) = (&mut self.stream, request) {
                    stream.to_server.push_back(request);
                }
            }
            Step::PushAll => {
                self.push(CLUSTER, Scope::All);
                self.push(ENDPOINT, Scope::All);
            }
            Step::PushEndpoints(number) => {
                self.push(ENDPOINT, Scope::only([name(number)]));
            }
            Step::ToServer => drop(self.deliver_request()),
            Step::ToClient => drop(self.deliver_response()),
            Step::Break => self.stream = None,
            Step::Connect => self.connect(),
        }
    }

    fn expected(&self) -> BTreeMap<(String, String), String> {
        let of = |kind: &str| {
            let type_url = kind.to_owned();
            self.existing(kind)
                .into_iter()
                .filter(|one| kind == CLUSTER || self.subscribed.contains(&**one.name()))
                .map(move |one| {
                    let name = one.name().to_string();
                    ((type_url.clone(), name), one.version().to_string())
                })
                .collect::<Vec<_>>()
        };
        [CLUSTER, ENDPOINT].into_iter().flat_map(of).collect()
    }
}

fn bad_version(clusters: bool, number: u8) -> String {
    let mut world = World::<DeltaClient>::new();
    world.clusters.insert(number, BAD);
    world.endpoints.insert(number, BAD);
    let type_url = if clusters { CLUSTER } else { ENDPOINT };
    world.existing(type_url)[0].version().to_string()
}

fn converges<C: Client>(steps: Vec<Step>) {
    let mut world = World::<C>::new();
    for step in steps {
        world.run(step);
    }
    // Peace: everything is good, the stream holds.
    for content in world
        .clusters
        .values_mut()
        .chain(world.endpoints.values_mut())
    {
        *content = (*content).max(1);
    }
    world.connect();
    world.run(Step::PushAll);
    world.settle();
    assert_eq!(world.held, world.expected());
    let session = &world.stream.as_ref().unwrap().session;
    if !world.clusters.is_empty() {
        assert_eq!(session.status(CLUSTER).state, SyncState::Synced);
    }

    // A client that knows everything is told nothing.
    world.stream = None;
    let before = world.resources_sent;
    world.connect();
    world.settle();
    assert_eq!(world.resources_sent, before);
    assert_eq!(world.held, world.expected());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn delta_converges(steps in prop::collection::vec(step(), 0..60)) {
        converges::<DeltaClient>(steps);
    }

    #[test]
    fn sotw_converges(steps in prop::collection::vec(step(), 0..60)) {
        converges::<SotwClient>(steps);
    }
}
