//! Header additions and removals with Envoy's `%COMMANDS%`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Compiled header changes of one level. Few levels have any, and there are three in each route.
#[derive(Debug, Default)]
pub struct HeaderMutations(Option<Box<Directions>>);

#[derive(Debug)]
struct Directions {
    request: Changes,
    response: Changes,
}

/// Changes of one direction: first additions in order, then removals, as in Envoy.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) set: Vec<Set>,
    pub(crate) remove: Vec<HeaderName>,
}

/// One header to write.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: HeaderName,
    pub(crate) value: Value,
    pub(crate) how: How,
    pub(crate) keep_empty: bool,
}

/// What happens if the header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfPresent,
}

/// A value: fixed, or composed per request.
#[derive(Debug)]
pub(crate) enum Value {
    Fixed(HeaderValue),
    Composed(Vec<Piece>),
}

/// A part of a composed value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Box<str>),
    Command(Command),
}

/// `%COMMANDS%` that header values may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    DownstreamRemoteAddress,
    DownstreamRemoteIp,
    DownstreamRemotePort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteIp,
    DownstreamLocalAddress,
    DownstreamLocalIp,
    DownstreamLocalPort,
    Protocol,
    ServerName,
    PeerUri,
    LocalUri,
    UpstreamHost,
    UpstreamCluster,
    RouteName,
    ResponseCode,
    /// Names to try in order, and a length limit.
    Request(Vec<Box<str>>, Option<usize>),
    /// The same of the response.
    Response(Vec<Box<str>>, Option<usize>),
}

/// Where `%COMMANDS%` take their values from. What isn't known yet is `None` and prints `-`.
///
/// `%REQ(X)%` reads pseudo-headers from here and other fields from the very headers that are
/// being changed ([`HeaderMutations::apply_request`]) or from `request_headers` (for responses).
#[derive(Clone, Copy, Debug, Default)]
pub struct FormatContext<'a> {
    /// Request method.
    pub method: Option<&'a str>,
    /// Request path as it came, with query.
    pub path: Option<&'a str>,
    /// Request authority as it came.
    pub authority: Option<&'a str>,
    /// Request scheme.
    pub scheme: Option<&'a str>,
    /// The request's headers, for response mutations.
    pub request_headers: Option<&'a HeaderMap>,
    /// The response's status.
    pub status: Option<u16>,
    /// The client, x-forwarded-for considered.
    pub downstream_remote: Option<SocketAddr>,
    /// The connection's peer.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// Original destination of the connection.
    pub downstream_local: Option<SocketAddr>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: Option<&'a str>,
    /// SNI of the client.
    pub server_name: Option<&'a str>,
    /// URI name in the client's certificate.
    pub peer_uri: Option<&'a str>,
    /// URI name in our certificate.
    pub local_uri: Option<&'a str>,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// The cluster.
    pub upstream_cluster: Option<&'a str>,
    /// The route's name.
    pub route_name: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

impl HeaderMutations {
    pub(crate) fn new(request: Changes, response: Changes) -> Self {
        let any = !request.is_empty() || !response.is_empty();
        Self(any.then(|| Box::new(Directions { request, response })))
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Changes a request's headers. Allocates only for values with commands.
    pub fn apply_request(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        if let Some(changes) = &self.0 {
            changes.request.apply(headers, context, Direction::Request);
        }
    }

    /// Changes a response's headers.
    pub fn apply_response(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        if let Some(changes) = &self.0 {
            changes
                .response
                .apply(headers, context, Direction::Response);
        }
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    fn apply(&self, headers: &mut HeaderMap, context: &FormatContext<'_>, direction: Direction) {
        for set in &self.set {
            set.apply(headers, context, direction);
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl Set {
    fn apply(&self, headers: &mut HeaderMap, context: &FormatContext<'_>, direction: Direction) {
        let value = match &self.value {
            Value::Fixed(value) => value.clone(),
            Value::Composed(pieces) => match compose(pieces, headers, context, direction) {
                Some(value) => value,
                None => return,
            },
        };
        if value.is_empty() && !self.keep_empty {
            return;
        }
        let present = || headers.contains_key(&self.name);
        match self.how {
            How::Append => {
                headers.append(self.name.clone(), value);
            }
            How::AddIfAbsent if present() => {}
            How::OverwriteIfPresent if !present() => {}
            How::AddIfAbsent | How::Overwrite | How::OverwriteIfPresent => {
                headers.insert(self.name.clone(), value);
            }
        }
    }
}

/// The value; `None` if what it is made of can't stand in a header.
fn compose(
    pieces: &[Piece],
    headers: &HeaderMap,
    context: &FormatContext<'_>,
    direction: Direction,
) -> Option<HeaderValue> {
    let mut text = String::with_capacity(64);
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Command(command) => command.print(&mut text, headers, context, direction),
        }
    }
    HeaderValue::try_from(text).ok()
}

impl Command {
    fn print(
        &self,
        out: &mut String,
        headers: &HeaderMap,
        context: &FormatContext<'_>,
        direction: Direction,
    ) {
        match self {
            Self::DownstreamRemoteAddress => address(out, context.downstream_remote),
            Self::DownstreamRemoteIp => shown(out, context.downstream_remote.map(|a| a.ip())),
            Self::DownstreamRemotePort => shown(out, context.downstream_remote.map(|a| a.port())),
            Self::DownstreamDirectRemoteAddress => address(out, context.downstream_direct_remote),
            Self::DownstreamDirectRemoteIp => {
                shown(out, context.downstream_direct_remote.map(|a| a.ip()))
            }
            Self::DownstreamLocalAddress => address(out, context.downstream_local),
            Self::DownstreamLocalIp => shown(out, context.downstream_local.map(|a| a.ip())),
            Self::DownstreamLocalPort => shown(out, context.downstream_local.map(|a| a.port())),
            Self::Protocol => shown(out, context.protocol),
            Self::ServerName => shown(out, context.server_name),
            Self::PeerUri => shown(out, context.peer_uri),
            Self::LocalUri => shown(out, context.local_uri),
            Self::UpstreamHost => address(out, context.upstream),
            Self::UpstreamCluster => shown(out, context.upstream_cluster),
            Self::RouteName => shown(out, context.route_name),
            Self::ResponseCode => shown(out, context.status),
            Self::Request(names, limit) => {
                let fields = match direction {
                    Direction::Request => Some(headers),
                    Direction::Response => context.request_headers,
                };
                let value = names
                    .iter()
                    .find_map(|name| context.request_value(name, fields));
                limited(out, value, *limit);
            }
            Self::Response(names, limit) => {
                let fields = (direction == Direction::Response).then_some(headers);
                let value = names
                    .iter()
                    .find_map(|name| fields?.get(&**name)?.to_str().ok());
                limited(out, value, *limit);
            }
        }
    }
}

impl<'a> FormatContext<'a> {
    fn request_value<'b>(&self, name: &str, headers: Option<&'b HeaderMap>) -> Option<&'b str>
    where
        'a: 'b,
    {
        match name {
            ":method" => self.method,
            ":path" => self.path,
            ":authority" | "host" => self.authority,
            ":scheme" => self.scheme,
            _ => headers?.get(name)?.to_str().ok(),
        }
    }
}

fn shown(out: &mut String, value: Option<impl std::fmt::Display>) {
    match value {
        Some(value) => write!(out, "{value}").expect("writing to a String can't fail"),
        None => out.push('-'),
    }
}

fn address(out: &mut String, value: Option<SocketAddr>) {
    shown(out, value);
}

fn limited(out: &mut String, value: Option<&str>, limit: Option<usize>) {
    match (value, limit) {
        (None, _) => out.push('-'),
        (Some(value), None) => out.push_str(value),
        // Header values that reach here are visible ASCII (`to_str`): any byte is a boundary.
        (Some(value), Some(limit)) => out.push_str(&value[..limit.min(value.len())]),
    }
}
