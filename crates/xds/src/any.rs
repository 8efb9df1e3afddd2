//! Packing messages into `google.protobuf.Any` and back.

use bytes::Bytes;
use prost::{Message, Name};

use crate::google::protobuf::Any;

/// Why an [`Any`] could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The payload is of another type.
    #[error("expected a {expected}, got a {found}")]
    WrongType {
        /// The type URL that the caller wants.
        expected: String,
        /// The type URL that the `Any` bears.
        found: String,
    },
    /// The payload is not a valid encoding of its type.
    #[error("decode {type_url}")]
    Malformed {
        /// The type URL of the payload.
        type_url: String,
        /// What the decoder found.
        #[source]
        source: prost::DecodeError,
    },
}

/// Encodes `message` with its type URL. Equal messages give equal bytes.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: Bytes::from(message.encode_to_vec()),
    }
}

/// Decodes an [`Any`] that should hold an `M`. `bytes` fields share the payload's memory.
///
/// # Errors
/// [`UnpackError::WrongType`] if it bears another type URL (only the part after the last
/// slash counts, as protobuf defines), [`UnpackError::Malformed`] if it doesn't decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    let expected = M::type_url();
    if message_name(&any.type_url) != message_name(&expected) {
        return Err(UnpackError::WrongType {
            expected,
            found: any.type_url.clone(),
        });
    }
    M::decode(any.value.clone()).map_err(|source| UnpackError::Malformed {
        type_url: any.type_url.clone(),
        source,
    })
}

/// The message's full name within a type URL: what follows the last slash.
pub(crate) fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::listener::v3::Listener;
    use crate::type_url;

    #[test]
    fn round_trips_with_envoys_type_url() {
        let cluster = Cluster {
            name: "outbound|80||a".to_owned(),
            ..Cluster::default()
        };
        let any = pack(&cluster);
        assert_eq!(any.type_url, type_url::CLUSTER);
        assert_eq!(unpack::<Cluster>(&any).unwrap(), cluster);
    }

    #[test]
    fn refuses_another_type_by_name() {
        let error = unpack::<Listener>(&pack(&Cluster::default())).unwrap_err();
        assert!(error.to_string().contains("v3.Cluster"), "{error}");
    }

    #[test]
    fn refuses_garbage() {
        let any = Any {
            type_url: type_url::CLUSTER.to_owned(),
            value: Bytes::from_static(&[7]),
        };
        assert!(matches!(
            unpack::<Cluster>(&any),
            Err(UnpackError::Malformed { .. })
        ));
    }
}
