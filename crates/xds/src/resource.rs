//! What servers and clients exchange: named, versioned resources and the part of a set that
//! an update speaks of.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use prost::{Message, Name};
use xxhash_rust::xxh64::xxh64;

use crate::any::pack;
use crate::google::protobuf::Any;

/// One resource as it goes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedResource {
    /// Unique within its type: `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub name: String,
    /// Says whether two resources of one name are the same. Servers of ours use a content
    /// hash ([`content_version`]); foreign servers may use anything.
    pub version: String,
    /// The payload. Cloning it shares the bytes.
    pub body: Any,
}

impl NamedResource {
    /// Packs `message` under `name`, with the hash of its content as version.
    pub fn new<M: Message + Name>(name: impl Into<String>, message: &M) -> Self {
        Self::from_any(name, pack(message))
    }

    /// A packed resource under `name`, with the hash of its content as version.
    pub fn from_any(name: impl Into<String>, body: Any) -> Self {
        Self {
            name: name.into(),
            version: content_version(&body),
            body,
        }
    }
}

/// A version that is equal exactly when the content is: 16 hexadecimal digits (XXH64).
///
/// Rests on deterministic encoding: maps are ordered in the generated types.
pub fn content_version(body: &Any) -> String {
    ContentVersion::of(body).to_string()
}

/// The hash of a resource's content, as servers of ours use it for a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentVersion(NonZeroU64);

impl ContentVersion {
    fn of(body: &Any) -> Self {
        Self(NonZeroU64::new(xxh64(&body.value, 0)).unwrap_or(NonZeroU64::MIN))
    }

    /// Reads what [`fmt::Display`] writes; `None` for the versions of foreign servers.
    pub fn parse(text: &str) -> Option<Self> {
        let hash = u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new);
        hash.filter(|_| text.len() == 16).map(Self)
    }

    /// For hashes over many versions.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_le_bytes()
    }
}

impl fmt::Display for ContentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ContentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource as servers send it: encoded once, for however many clients. Cloning counts
/// references.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedResource(Arc<Encoded>);

#[derive(Debug, PartialEq)]
struct Encoded {
    name: Arc<str>,
    version: ContentVersion,
    delta: Bytes,
    packed: Bytes,
}

/// `envoy.service.discovery.v3.Resource` with its payload encoded already; the same on the wire.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "bytes", tag = "2")]
    resource: Bytes,
    #[prost(string, tag = "3")]
    name: String,
}

impl EncodedResource {
    /// Encodes `message` under `name`.
    pub fn new<M: Message + Name>(name: impl Into<Arc<str>>, message: &M) -> Self {
        let name = name.into();
        let body = pack(message);
        let version = ContentVersion::of(&body);
        let frame = Frame {
            version: version.to_string(),
            resource: body.encode_to_vec().into(),
            name: String::from(&*name),
        };
        let delta = Bytes::from(frame.encode_to_vec());
        let frame = Frame::decode(delta.clone()).expect("was encoded just now");
        Self(Arc::new(Encoded {
            name,
            version,
            // Decoding has cut it out of the same memory.
            packed: frame.resource,
            delta,
        }))
    }

    /// See [`NamedResource::name`].
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The hash of its content.
    pub fn version(&self) -> ContentVersion {
        self.0.version
    }

    /// An encoded `envoy.service.discovery.v3.Resource`, as delta responses carry it.
    pub fn delta(&self) -> &Bytes {
        &self.0.delta
    }

    /// An encoded [`Any`], as responses of the state of the world carry it.
    pub fn packed(&self) -> &Bytes {
        &self.0.packed
    }
}

impl From<&EncodedResource> for NamedResource {
    fn from(resource: &EncodedResource) -> Self {
        Self {
            name: String::from(&**resource.name()),
            version: resource.version().to_string(),
            body: Any::decode(resource.packed().clone()).expect("was encoded as such"),
        }
    }
}

/// Names, sorted; shared by whoever speaks of the same ones.
pub type NameSet = Arc<BTreeSet<Arc<str>>>;

/// The part of a type's resources that an update is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them: what is missing is gone.
    All,
    /// These names: those among them that are missing are gone, others are not spoken of.
    Only(NameSet),
}

impl Scope {
    /// A scope of these names.
    pub fn only<N: Into<Arc<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Only(Arc::new(names.into_iter().map(Into::into).collect()))
    }

    /// Widens this scope by another.
    pub fn merge(&mut self, other: Scope) {
        match (&mut *self, other) {
            (Scope::All, _) => {}
            (_, Scope::All) => *self = Scope::All,
            (Scope::Only(mine), Scope::Only(theirs)) if mine.is_empty() => *mine = theirs,
            (Scope::Only(mine), Scope::Only(theirs)) => {
                Arc::make_mut(mine).extend(theirs.iter().cloned());
            }
        }
    }

    /// Whether `name` is in this scope.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(names) => names.contains(name),
        }
    }
}

/// The first field of every xDS resource type is its name.
#[derive(Clone, PartialEq, Message)]
struct NameField {
    #[prost(string, tag = "1")]
    name: String,
}

/// Reads the name out of a state-of-the-world resource, which travels without one.
///
/// # Errors
/// If the payload is not a protobuf message, or its first field is no string.
pub(crate) fn name_of(body: &Any) -> Result<String, prost::DecodeError> {
    NameField::decode(Bytes::clone(&body.value)).map(|field| field.name)
}
