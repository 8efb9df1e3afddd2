//! The operators: parsing and writing.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::super::time::write_rfc3339_millis;
use super::super::{Record, ResponseFlags};
use super::FormatError;

#[derive(Debug, Clone, Copy)]
pub(super) enum AddressPart {
    Both,
    Ip,
    Port,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    UpstreamHost,
    UpstreamLocal,
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
}

#[derive(Debug, Clone)]
pub(super) enum Field {
    Method,
    Path,
    Authority,
    Scheme,
    UpstreamServiceTime,
    Header(HeaderName),
}

#[derive(Debug, Clone)]
pub(super) enum Operator {
    StartTime(Option<Box<str>>),
    Request(Field, Option<Field>),
    Response(Field, Option<Field>),
    Trailer(Field, Option<Field>),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ResponseFlagsLong,
    ConnectionTerminationDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    ResponseDuration,
    Address(Address, AddressPart),
    UpstreamCluster,
    UpstreamRequestAttemptCount,
    RequestedServerName,
    RouteName,
    DownstreamPeerUriSan,
    UpstreamPeerUriSan,
}

impl Operator {
    /// Parses what stands between the percent signs.
    pub(super) fn parse(text: &str) -> Result<(Self, Option<usize>), FormatError> {
        let bad = |reason: &str| FormatError::Argument {
            operator: text.to_owned(),
            reason: reason.to_owned(),
        };
        let (name, argument, tail) = match text.split_once('(') {
            Some((name, rest)) => {
                let (argument, tail) =
                    rest.rsplit_once(')').ok_or_else(|| bad("')' is missing"))?;
                (name, Some(argument), tail)
            }
            None => match text.split_once(':') {
                Some((name, _)) => (name, None, &text[name.len()..]),
                None => (text, None, ""),
            },
        };
        let max_bytes = match tail.strip_prefix(':') {
            Some(number) => Some(
                number
                    .parse()
                    .map_err(|_| bad("the length after ':' must be a number"))?,
            ),
            None if tail.is_empty() => None,
            None => return Err(bad("only :LENGTH may follow")),
        };
        let operator = match argument {
            Some(argument) => Self::with_argument(name, argument, text)?,
            None => Self::plain(name).ok_or_else(|| FormatError::UnknownOperator {
                operator: name.to_owned(),
            })?,
        };
        Ok((operator, max_bytes))
    }

    fn with_argument(name: &str, argument: &str, text: &str) -> Result<Self, FormatError> {
        let field = |lower: &str| Field::parse(lower, text);
        let fields = || match argument.split_once('?') {
            Some((first, second)) => Ok((field(first)?, Some(field(second)?))),
            None => Ok((field(argument)?, None)),
        };
        Ok(match name {
            "START_TIME" => Self::StartTime(Some(checked_time_format(argument, text)?)),
            "REQ" => fields().map(|(first, second)| Self::Request(first, second))?,
            "RESP" => fields().map(|(first, second)| Self::Response(first, second))?,
            "TRAILER" => fields().map(|(first, second)| Self::Trailer(first, second))?,
            _ if Self::plain(name).is_some() => {
                return Err(FormatError::Argument {
                    operator: text.to_owned(),
                    reason: "it takes no argument".to_owned(),
                });
            }
            _ => {
                return Err(FormatError::UnknownOperator {
                    operator: text.to_owned(),
                });
            }
        })
    }

    fn plain(name: &str) -> Option<Self> {
        Some(match name {
            "START_TIME" => Self::StartTime(None),
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "RESPONSE_FLAGS_LONG" => Self::ResponseFlagsLong,
            "CONNECTION_TERMINATION_DETAILS" => Self::ConnectionTerminationDetails,
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => Self::UpstreamTransportFailureReason,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "DURATION" => Self::Duration,
            "RESPONSE_DURATION" => Self::ResponseDuration,
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Self::UpstreamCluster,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::UpstreamRequestAttemptCount,
            "REQUESTED_SERVER_NAME" => Self::RequestedServerName,
            "ROUTE_NAME" => Self::RouteName,
            "DOWNSTREAM_PEER_URI_SAN" => Self::DownstreamPeerUriSan,
            "UPSTREAM_PEER_URI_SAN" => Self::UpstreamPeerUriSan,
            _ => return Self::address(name),
        })
    }

    fn address(name: &str) -> Option<Self> {
        let (base, part) = match name.strip_suffix("_WITHOUT_PORT") {
            Some(base) => (base, AddressPart::Ip),
            None => match name.strip_suffix("_PORT") {
                Some(base) => (base, AddressPart::Port),
                None => (name, AddressPart::Both),
            },
        };
        let address = match base {
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Address::UpstreamHost,
            "UPSTREAM_LOCAL_ADDRESS" => Address::UpstreamLocal,
            "DOWNSTREAM_LOCAL_ADDRESS" => Address::DownstreamLocal,
            "DOWNSTREAM_REMOTE_ADDRESS" => Address::DownstreamRemote,
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Address::DownstreamDirectRemote,
            // Envoy spells these two without ADDRESS.
            "UPSTREAM_LOCAL" => return Self::only_port(Address::UpstreamLocal, part),
            "UPSTREAM_REMOTE" => return Self::only_port(Address::UpstreamHost, part),
            "DOWNSTREAM_LOCAL" => return Self::only_port(Address::DownstreamLocal, part),
            "DOWNSTREAM_REMOTE" => return Self::only_port(Address::DownstreamRemote, part),
            "DOWNSTREAM_DIRECT_REMOTE" => {
                return Self::only_port(Address::DownstreamDirectRemote, part);
            }
            _ => return None,
        };
        Some(Self::Address(address, part))
    }

    fn only_port(address: Address, part: AddressPart) -> Option<Self> {
        matches!(part, AddressPart::Port).then_some(Self::Address(address, part))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(
            self,
            Self::ResponseCode
                | Self::BytesReceived
                | Self::BytesSent
                | Self::Duration
                | Self::ResponseDuration
                | Self::UpstreamRequestAttemptCount
                | Self::Address(_, AddressPart::Port)
        )
    }

    /// The value may hold what a peer wrote.
    pub(super) fn writes_foreign_text(&self) -> bool {
        let ours = matches!(
            self,
            Self::StartTime(_)
                | Self::Protocol
                | Self::ResponseFlags
                | Self::ResponseFlagsLong
                | Self::Address(..)
        );
        !ours && !self.is_number()
    }

    /// The record's response headers are looked at.
    pub(super) fn reads_response_headers(&self) -> bool {
        let reads = |field: &Field| matches!(field, Field::Header(_));
        match self {
            Self::Response(first, second) => reads(first) || second.as_ref().is_some_and(reads),
            _ => false,
        }
    }

    /// Appends the value; `false` (and nothing appended) if the record has none.
    pub(super) fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::StartTime(format) => write_time(record, format.as_deref(), out),
            Self::Request(first, second) => either(first, second.as_ref(), |field| {
                write_request(field, record, out)
            }),
            Self::Response(first, second) => either(first, second.as_ref(), |field| {
                write_response(field, record, out)
            }),
            Self::Trailer(first, second) => either(first, second.as_ref(), |field| match field {
                Field::Header(name) => write_header(record.response_trailers, name, out),
                _ => false,
            }),
            Self::Protocol => write_text(record.protocol, out),
            Self::ResponseCode => write_number(u64::from(record.response_code), out),
            Self::ResponseCodeDetails => write_text(record.response_code_details, out),
            Self::ResponseFlags => write_flags(record.flags, out),
            Self::ResponseFlagsLong => write_long_flags(record.flags, out),
            Self::ConnectionTerminationDetails => {
                write_text(record.connection_termination_details, out)
            }
            Self::UpstreamTransportFailureReason => {
                write_text(record.upstream_transport_failure_reason, out)
            }
            Self::BytesReceived => write_number(record.bytes_received, out),
            Self::BytesSent => write_number(record.bytes_sent, out),
            Self::Duration => write_millis(record.duration, out),
            Self::ResponseDuration => write_millis(record.response_duration, out),
            Self::Address(address, part) => write_address(address.of(record), *part, out),
            Self::UpstreamCluster => write_text(record.upstream_cluster, out),
            Self::UpstreamRequestAttemptCount => {
                write_number(u64::from(record.upstream_attempts), out)
            }
            Self::RequestedServerName => write_text(record.requested_server_name, out),
            Self::RouteName => write_text(record.route_name, out),
            Self::DownstreamPeerUriSan => write_text(record.downstream_peer_uri_san, out),
            Self::UpstreamPeerUriSan => write_text(record.upstream_peer_uri_san, out),
        }
    }
}

impl Field {
    fn parse(name: &str, text: &str) -> Result<Self, FormatError> {
        let lower = name.to_ascii_lowercase();
        Ok(match lower.as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            "x-envoy-upstream-service-time" => Self::UpstreamServiceTime,
            other => {
                Self::Header(
                    HeaderName::try_from(other).map_err(|_| FormatError::Argument {
                        operator: text.to_owned(),
                        reason: format!("{name:?} is no header name"),
                    })?,
                )
            }
        })
    }
}

impl Address {
    fn of(self, record: &Record<'_>) -> Option<SocketAddr> {
        match self {
            Self::UpstreamHost => record.upstream_host,
            Self::UpstreamLocal => record.upstream_local_address,
            Self::DownstreamLocal => record.downstream_local_address,
            Self::DownstreamRemote => record.downstream_remote_address,
            Self::DownstreamDirectRemote => record.downstream_direct_remote_address,
        }
    }
}

fn checked_time_format(format: &str, text: &str) -> Result<Box<str>, FormatError> {
    jiff::fmt::strtime::format(
        format,
        &jiff::Zoned::new(jiff::Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC),
    )
    .map_err(|error| FormatError::Argument {
        operator: text.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(format.into())
}

fn write_time(record: &Record<'_>, format: Option<&str>, out: &mut Vec<u8>) -> bool {
    let Some(format) = format else {
        write_rfc3339_millis(record.start, out);
        return true;
    };
    let Ok(time) = jiff::Timestamp::try_from(record.start) else {
        return false;
    };
    let Ok(text) = jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC))
    else {
        return false;
    };
    out.extend_from_slice(text.as_bytes());
    true
}

fn either(first: &Field, second: Option<&Field>, mut write: impl FnMut(&Field) -> bool) -> bool {
    write(first) || second.is_some_and(write)
}

fn write_request(field: &Field, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    match field {
        Field::Method => write_text(record.method, out),
        Field::Path => write_text(record.path, out),
        Field::Authority => write_text(record.authority, out),
        Field::Scheme => write_text(record.scheme, out),
        Field::UpstreamServiceTime => false,
        Field::Header(name) => write_header(record.request_headers, name, out),
    }
}

fn write_response(field: &Field, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    match field {
        Field::Header(name) => write_header(record.response_headers, name, out),
        Field::UpstreamServiceTime => {
            let name = HeaderName::from_static("x-envoy-upstream-service-time");
            write_millis(record.upstream_service_time, out)
                || write_header(record.response_headers, &name, out)
        }
        _ => false,
    }
}

fn write_header(headers: Option<&HeaderMap>, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    match headers.and_then(|headers| headers.get(name)) {
        Some(value) => {
            out.extend_from_slice(value.as_bytes());
            true
        }
        None => false,
    }
}

fn write_text(text: Option<&str>, out: &mut Vec<u8>) -> bool {
    match text {
        Some(text) if !text.is_empty() => {
            out.extend_from_slice(text.as_bytes());
            true
        }
        _ => false,
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) -> bool {
    // A line has a dozen numbers: `write!` is several times slower.
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    true
}

fn write_millis(duration: Option<Duration>, out: &mut Vec<u8>) -> bool {
    duration.is_some_and(|duration| {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        write_number(millis, out)
    })
}

/// No flag is a value too, `-`: in JSON it is not null, as Envoy writes it.
fn write_flags(flags: ResponseFlags, out: &mut Vec<u8>) -> bool {
    if flags.is_empty() {
        out.push(b'-');
        return true;
    }
    write!(out, "{flags}").is_ok()
}

fn write_long_flags(flags: ResponseFlags, out: &mut Vec<u8>) -> bool {
    for (position, flag) in flags.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(flag.long().as_bytes());
    }
    !flags.is_empty()
}

fn write_address(address: Option<SocketAddr>, part: AddressPart, out: &mut Vec<u8>) -> bool {
    address.is_some_and(|address| match part {
        AddressPart::Both => {
            let ip = match address {
                SocketAddr::V4(v4) => write_ip((*v4.ip()).into(), out),
                SocketAddr::V6(v6) => write!(out, "[{}]", v6.ip()).is_ok(),
            };
            out.push(b':');
            ip && write_number(address.port().into(), out)
        }
        AddressPart::Ip => write_ip(address.ip(), out),
        AddressPart::Port => write_number(address.port().into(), out),
    })
}

fn write_ip(ip: IpAddr, out: &mut Vec<u8>) -> bool {
    let IpAddr::V4(v4) = ip else {
        return write!(out, "{ip}").is_ok();
    };
    let mut text = [b'.'; 15];
    let mut length = 0;
    for octet in v4.octets() {
        for (power, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text[length] = b'0' + octet / power % 10;
                length += 1;
            }
        }
        length += 1; // the dot is there
    }
    out.extend_from_slice(&text[..length - 1]);
    true
}
