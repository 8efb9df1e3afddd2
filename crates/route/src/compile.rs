//! From Envoy's messages to the engine's types.
//!
//! Rule for every message here: what is understood is *taken out* of it, what may be
//! ignored is dropped by name (`disregard!`), and [`nothing_left`] refuses whatever remains by
//! its field names. So a field that nobody thought of can't be parsed and forgotten.

// Envoy's older fields are still in use: a control plane may send either form.
#![allow(deprecated)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::r#type::v3 as kinds;
use mesh_xds::google::protobuf::{self as pb, Any};
use prost::{Message, Name};

use crate::error::{At, Refused};

pub(crate) mod access_log;
pub(crate) mod action;
pub(crate) mod authz;
pub(crate) mod chain;
pub(crate) mod cluster;
pub(crate) mod endpoints;
pub(crate) mod filters;
pub(crate) mod headers;
pub(crate) mod listener;
pub(crate) mod manager;
pub(crate) mod matchers;
pub(crate) mod policies;
pub(crate) mod protocol;
pub(crate) mod route;
pub(crate) mod tcp;
pub(crate) mod tls;

/// Drops fields on purpose; each use says why.
macro_rules! disregard {
    ($message:ident: $($field:ident),+ $(,)?) => { $( $message.$field = Default::default(); )+ };
}
pub(crate) use disregard;

/// Takes a field out of its message.
pub(crate) fn take<T: Default>(field: &mut T) -> T {
    std::mem::take(field)
}

/// Refuses a message that still holds anything, naming the fields.
pub(crate) fn nothing_left<M: Message + Name + Default + PartialEq>(
    rest: &M,
) -> Result<(), Refused> {
    if *rest == M::default() {
        return Ok(());
    }
    let names = mesh_xds::json::to_json(&mesh_xds::any::pack(rest))
        .ok()
        .and_then(|json| {
            let fields = json.as_object()?.keys().filter(|key| !key.starts_with('@'));
            Some(fields.cloned().collect::<Vec<_>>().join(", "))
        })
        .filter(|names| !names.is_empty())
        .unwrap_or_else(|| M::NAME.to_owned());
    Err(Refused::unsupported(names))
}

/// Decodes an extension's configuration.
pub(crate) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Refused> {
    mesh_xds::any::unpack(any).map_err(|error| Refused::new(error.to_string()))
}

/// The message name in a type URL.
pub(crate) fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// A configured name as the engine keeps it.
pub(crate) use crate::names::intern as name;

/// A name where empty means none.
pub(crate) fn some_name(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| name(text))
}

/// A duration; negative or malformed ones are refused.
pub(crate) fn duration(value: pb::Duration, field: &str) -> Result<Duration, Refused> {
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Refused::field(field, "must be a duration of zero or more")),
    }
}

/// An optional duration.
pub(crate) fn some_duration(
    value: Option<pb::Duration>,
    field: &str,
) -> Result<Option<Duration>, Refused> {
    value.map(|value| duration(value, field)).transpose()
}

/// An optional duration with a default, where zero switches it off.
pub(crate) fn timeout(
    value: Option<pb::Duration>,
    default: Option<Duration>,
    field: &str,
) -> Result<Option<Duration>, Refused> {
    Ok(some_duration(value, field)?
        .or(default)
        .filter(|time| !time.is_zero()))
}

/// A `BoolValue` with its default.
pub(crate) fn flag(value: Option<pb::BoolValue>, default: Unset) -> bool {
    value.map_or(default == Unset::True, |value| value.value)
}

/// What an absent `BoolValue` means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset {
    True,
    False,
}

/// An optional number.
pub(crate) fn number(value: Option<pb::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

/// A port.
pub(crate) fn port(value: u32, field: &str) -> Result<u16, Refused> {
    u16::try_from(value).map_err(|_| Refused::field(field, format!("{value} is not a port")))
}

/// A share in millionths.
pub(crate) fn millionths(share: &kinds::FractionalPercent) -> Result<u32, Refused> {
    use kinds::fractional_percent::DenominatorType;
    let scale = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(Refused::field("denominator", "unknown value")),
    };
    Ok(share.numerator.saturating_mul(scale).min(1_000_000))
}

/// A share that Envoy could change at run time; there is no runtime layer here, so its default.
pub(crate) fn runtime_share(
    share: Option<core::RuntimeFractionalPercent>,
) -> Result<Option<u32>, Refused> {
    share
        .and_then(|share| share.default_value)
        .map(|share| millionths(&share))
        .transpose()
}

/// An address range.
pub(crate) fn range(range: &core::CidrRange) -> Result<IpNet, Refused> {
    let address = ip(&range.address_prefix).at(|| "address_prefix".to_owned())?;
    let length = number(range.prefix_len).unwrap_or(0);
    u8::try_from(length)
        .ok()
        .and_then(|length| IpNet::new(address, length).ok())
        .map(|net| net.trunc())
        .ok_or_else(|| Refused::field("prefix_len", format!("{length} is too long for {address}")))
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, Refused> {
    text.parse()
        .map_err(|_| Refused::new(format!("{text:?} is not an IP address")))
}

/// Where a socket address points: an IP address or a host name to resolve.
pub(crate) enum Place {
    Ip(SocketAddr),
    Name(Arc<str>, u16),
}

/// An address of a TCP socket.
pub(crate) fn place(address: Option<core::Address>) -> Result<Place, Refused> {
    let address = address.and_then(|address| address.address);
    let mut socket = match address {
        Some(core::address::Address::SocketAddress(socket)) => socket,
        Some(core::address::Address::Pipe(_)) => return Err(Refused::unsupported("pipe")),
        Some(core::address::Address::EnvoyInternalAddress(_)) => {
            return Err(Refused::unsupported("envoy_internal_address"));
        }
        None => return Err(Refused::missing("address")),
    };
    let host = take(&mut socket.address);
    let place_port = match take(&mut socket.port_specifier) {
        Some(core::socket_address::PortSpecifier::PortValue(value)) => port(value, "port_value")?,
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => {
            return Err(Refused::unsupported("named_port"));
        }
        None => 0,
    };
    // We listen on both families wherever we may.
    disregard!(socket: ipv4_compat);
    nothing_left(&socket)?;
    Ok(match host.parse() {
        Ok(address) => Place::Ip(SocketAddr::new(address, place_port)),
        Err(_) if host.is_empty() => return Err(Refused::missing("address")),
        Err(_) => Place::Name(name(&host), place_port),
    })
}

/// An address that must be an IP address and port.
pub(crate) fn socket(address: Option<core::Address>) -> Result<SocketAddr, Refused> {
    match place(address)? {
        Place::Ip(address) => Ok(address),
        Place::Name(host, _) => Err(Refused::new(format!("{host:?} is not an IP address"))),
    }
}

/// A text in a `Struct`, by field name.
pub(crate) fn text<'a>(fields: &'a pb::Struct, key: &str) -> Option<&'a str> {
    match fields.fields.get(key)?.kind.as_ref()? {
        pb::value::Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// An enum's value by its number.
pub(crate) fn known<E: TryFrom<i32>>(value: i32, field: &str) -> Result<E, Refused> {
    E::try_from(value).map_err(|_| Refused::field(field, format!("unknown value {value}")))
}
