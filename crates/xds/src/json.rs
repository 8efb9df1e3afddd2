//! Printing any known message as JSON, the way Envoy's admin interface does: field names as
//! in the proto files, every nested `Any` expanded under `@type`.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::any::message_name;
use crate::google::protobuf::Any;

/// Why a message could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The type is not part of the compiled descriptor set.
    #[error("type {type_url} is unknown (is it among the roots of `cargo xtask descriptors`?)")]
    UnknownType {
        /// The type URL asked for.
        type_url: String,
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
    /// The JSON is no message.
    #[error("read a message from JSON")]
    Read(#[source] serde_json::Error),
    /// A nested message can't be printed, most often an `Any` of unknown type.
    #[error("print {type_url}")]
    Print {
        /// The type URL of the outer message.
        type_url: String,
        /// What the printer found.
        #[source]
        source: serde_json::Error,
    },
}

// Decoding the pool takes some 60 ms in a debug build: once, and only in processes that print.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes.as_slice()).expect("build.rs wrote a complete descriptor set")
});

/// The payload as JSON, with `@type` first among its fields in meaning if not in order:
/// objects are sorted by key, so equal messages print equally.
///
/// # Errors
/// See [`JsonError`]: unknown type, malformed payload, unprintable nested message.
pub fn to_json(any: &Any) -> Result<serde_json::Value, JsonError> {
    let type_url = &any.type_url;
    let descriptor = POOL
        .get_message_by_name(message_name(type_url))
        .ok_or_else(|| JsonError::UnknownType {
            type_url: type_url.clone(),
        })?;
    let message = DynamicMessage::decode(descriptor, any.value.clone()).map_err(|source| {
        JsonError::Malformed {
            type_url: type_url.clone(),
            source,
        }
    })?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|source| JsonError::Print {
            type_url: type_url.clone(),
            source,
        })?;
    if let Some(object) = value.as_object_mut() {
        object.insert("@type".to_owned(), type_url.clone().into());
    }
    Ok(value)
}

/// Reads what [`to_json`] prints: an object with `@type`, proto or JSON field names.
///
/// Equal objects need not give equal bytes (maps are unordered here): unpack into the typed
/// message and pack it again where bytes or versions are compared.
///
/// # Errors
/// [`JsonError::Read`] names the field at fault.
pub fn from_json(value: &serde_json::Value) -> Result<Any, JsonError> {
    let descriptor = POOL
        .get_message_by_name("google.protobuf.Any")
        .expect("the descriptor set holds the well-known types");
    let message = DynamicMessage::deserialize(descriptor, value).map_err(JsonError::Read)?;
    message
        .transcode_to()
        .map_err(|source| JsonError::Malformed {
            type_url: "google.protobuf.Any".to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any::pack;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
    use crate::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
    use crate::google::protobuf::Duration;

    #[test]
    fn prints_proto_names_and_expands_nested_any() {
        let cluster = Cluster {
            name: "a".to_owned(),
            connect_timeout: Some(Duration {
                seconds: 10,
                nanos: 0,
            }),
            transport_socket: Some(TransportSocket {
                name: "raw".to_owned(),
                config_type: Some(ConfigType::TypedConfig(pack(&RawBuffer {}))),
            }),
            ..Cluster::default()
        };
        let value = to_json(&pack(&cluster)).unwrap();
        assert_eq!(value["@type"], crate::type_url::CLUSTER);
        assert_eq!(value["connect_timeout"], "10s");
        assert_eq!(
            value["transport_socket"]["typed_config"]["@type"],
            "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        );
    }

    #[test]
    fn reads_what_it_prints() {
        let cluster = Cluster {
            name: "a".to_owned(),
            ..Cluster::default()
        };
        let any = pack(&cluster);
        assert_eq!(from_json(&to_json(&any).unwrap()).unwrap(), any);
        let bad = serde_json::json!({"@type": crate::type_url::CLUSTER, "nope": 1});
        assert!(from_json(&bad).is_err());
    }

    #[test]
    fn names_the_unknown_type() {
        let any = Any {
            type_url: "type.googleapis.com/no.Such".to_owned(),
            ..Any::default()
        };
        assert!(to_json(&any).unwrap_err().to_string().contains("no.Such"));
    }
}
