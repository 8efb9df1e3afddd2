//! What servers and clients exchange: named, versioned resources and the part of a set that
//! an update speaks of.

use std::collections::BTreeSet;

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
    format!("{:016x}", xxh64(&body.value, 0))
}

/// The part of a type's resources that an update is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them: what is missing is gone.
    All,
    /// These names: those among them that are missing are gone, others are not spoken of.
    Only(BTreeSet<String>),
}

impl Scope {
    /// Widens this scope by another.
    pub fn merge(&mut self, other: Scope) {
        match (&mut *self, other) {
            (Scope::All, _) => {}
            (_, Scope::All) => *self = Scope::All,
            (Scope::Only(mine), Scope::Only(theirs)) => mine.extend(theirs),
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
