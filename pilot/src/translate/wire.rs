//! Shorthand for Envoy's messages: the module paths, wrappers and packing that every builder needs.

use std::time::Duration;

use ipnet::IpNet;
use mesh_xds::any::pack;
use mesh_xds::google::protobuf as pb;
use prost::{Message, Name};

pub(crate) use mesh_xds::envoy::config::accesslog::v3 as accesslog;
pub(crate) use mesh_xds::envoy::config::cluster::v3 as cluster;
pub(crate) use mesh_xds::envoy::config::core::v3 as base;
pub(crate) use mesh_xds::envoy::config::endpoint::v3 as endpoint;
pub(crate) use mesh_xds::envoy::config::listener::v3 as listener;
pub(crate) use mesh_xds::envoy::config::rbac::v3 as rbac;
pub(crate) use mesh_xds::envoy::config::route::v3 as route;
pub(crate) use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use mesh_xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
pub(crate) use mesh_xds::envoy::extensions::transport_sockets::tls::v3 as tls;
pub(crate) use mesh_xds::envoy::extensions::upstreams::http::v3 as upstream;
pub(crate) use mesh_xds::envoy::r#type::matcher::v3 as matcher;
pub(crate) use mesh_xds::envoy::r#type::v3 as types;
pub(crate) use pb::Any;

/// Wraps a number.
pub(crate) fn uint32(value: u32) -> Option<pb::UInt32Value> {
    Some(pb::UInt32Value { value })
}

/// Wraps a number.
pub(crate) fn uint64(value: u64) -> Option<pb::UInt64Value> {
    Some(pb::UInt64Value { value })
}

/// Wraps a flag.
pub(crate) fn boolean(value: bool) -> Option<pb::BoolValue> {
    Some(pb::BoolValue { value })
}

/// A duration; longer than Envoy's limit (about 10,000 years) is cut.
pub(crate) fn duration(value: Duration) -> Option<pb::Duration> {
    Some(pb::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(315_576_000_000),
        nanos: i32::try_from(value.subsec_nanos()).expect("below a billion"),
    })
}

/// An IP address and port.
pub(crate) fn address(ip: impl ToString, port: u16) -> base::Address {
    base::Address {
        address: Some(base::address::Address::SocketAddress(socket_address(
            ip, port,
        ))),
    }
}

/// As [`address`], unwrapped.
pub(crate) fn socket_address(ip: impl ToString, port: u16) -> base::SocketAddress {
    base::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(base::socket_address::PortSpecifier::PortValue(port.into())),
        ..base::SocketAddress::default()
    }
}

/// An address range.
pub(crate) fn cidr(net: IpNet) -> base::CidrRange {
    base::CidrRange {
        address_prefix: net.network().to_string(),
        prefix_len: uint32(net.prefix_len().into()),
    }
}

/// A network filter.
pub(crate) fn network_filter<M: Message + Name>(name: &str, config: &M) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(config))),
    }
}

/// A listener filter.
pub(crate) fn listener_filter<M: Message + Name>(
    name: &str,
    config: &M,
) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pack(
            config,
        ))),
        filter_disabled: None,
    }
}

/// An HTTP filter.
pub(crate) fn http_filter<M: Message + Name>(name: &str, config: &M) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(config))),
        ..hcm::HttpFilter::default()
    }
}

/// A transport socket.
pub(crate) fn transport_socket<M: Message + Name>(name: &str, config: &M) -> base::TransportSocket {
    base::TransportSocket {
        name: name.to_owned(),
        config_type: Some(base::transport_socket::ConfigType::TypedConfig(pack(
            config,
        ))),
    }
}

/// A source of configuration on the stream that this configuration came by.
///
/// `0s`: listeners and clusters wait for what they refer to, however long it takes.
pub(crate) fn ads() -> base::ConfigSource {
    base::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: base::ApiVersion::V3.into(),
        config_source_specifier: Some(base::config_source::ConfigSourceSpecifier::Ads(
            base::AggregatedConfigSource {},
        )),
        ..base::ConfigSource::default()
    }
}

/// A string in a protobuf `Struct`.
pub(crate) fn string_value(text: impl Into<String>) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::StringValue(text.into())),
    }
}

/// A protobuf `Struct` in a protobuf `Struct`.
pub(crate) fn struct_value(fields: pb::Struct) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::StructValue(fields)),
    }
}

/// A protobuf `Struct` of these fields.
pub(crate) fn structure<K: Into<String>>(
    fields: impl IntoIterator<Item = (K, pb::Value)>,
) -> pb::Struct {
    pb::Struct {
        fields: fields
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
    }
}

/// Metadata for one filter.
pub(crate) fn metadata(filter: &str, fields: pb::Struct) -> base::Metadata {
    base::Metadata {
        filter_metadata: [(filter.to_owned(), fields)].into(),
        ..base::Metadata::default()
    }
}

/// A share, exact to a millionth.
pub(crate) fn fraction(percent: mesh_config::Percent) -> types::FractionalPercent {
    types::FractionalPercent {
        numerator: percent.parts_per_million(),
        denominator: types::fractional_percent::DenominatorType::Million.into(),
    }
}

/// As [`fraction`], with no runtime key.
pub(crate) fn runtime_fraction(percent: mesh_config::Percent) -> base::RuntimeFractionalPercent {
    base::RuntimeFractionalPercent {
        default_value: Some(fraction(percent)),
        ..base::RuntimeFractionalPercent::default()
    }
}

/// A regular expression, matched as a whole.
pub(crate) fn regex(pattern: impl Into<String>) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: pattern.into(),
        engine_type: None,
    }
}

/// A string matcher.
pub(crate) fn string_matcher(
    pattern: matcher::string_matcher::MatchPattern,
) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    }
}
