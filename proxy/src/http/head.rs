//! A request's head as we got it, after the connection manager's rules, and the views that
//! policy, routing and logs take of it. Kept unchanged to the end: each attempt gets a copy of
//! the headers.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{InvalidUri, PathAndQuery};
use http::{Extensions, Method, Uri, Version};
use mesh_route::HttpManager;
use mesh_route::RequestView;
use mesh_route::http_manager::{Normalised, StripPort};

use super::headers::{self, Malformed, upgrade_protocol};
use crate::http2::head::Protocol;

/// The head.
#[derive(Debug)]
pub(crate) struct Head {
    /// Method.
    pub(crate) method: Method,
    /// What the client speaks.
    pub(crate) version: Version,
    /// All fields; `host` included where HTTP/1.1 sent it.
    pub(crate) headers: HeaderMap,
    /// The codec's own notes: header case.
    pub(crate) extensions: Extensions,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The protocol asked for by Upgrade or extended CONNECT, lower case; `connect` for CONNECT.
    pub(crate) upgrade: Option<String>,
    uri: Uri,
    path: Option<String>,
    authority: String,
}

/// What the manager's rules say about a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Go on.
    Go,
    /// Send the client to the normalised path.
    Redirect(String),
    /// Refuse.
    Refuse(Malformed),
}

impl Head {
    /// Applies framing checks, path normalisation and port stripping.
    pub(crate) fn admit(
        parts: Parts,
        manager: &HttpManager,
        scheme: &'static str,
        listener_port: u16,
    ) -> (Self, Admission) {
        let checked = headers::check_framing(&parts);
        let mut head = Self::new(parts, scheme);
        let admission = match checked {
            Ok(()) => head.normalise(manager),
            Err(malformed) => Admission::Refuse(malformed),
        };
        head.strip_port(manager.strip_port, listener_port);
        (head, admission)
    }

    fn normalise(&mut self, manager: &HttpManager) -> Admission {
        if self.method == Method::CONNECT {
            return Admission::Go;
        }
        let path = self.path();
        if !path.starts_with('/') && path != "*" {
            return Admission::Refuse(Malformed::Path);
        }
        match manager.path.apply(path) {
            Normalised::Unchanged => {}
            Normalised::Changed(path) => self.path = Some(path),
            Normalised::Redirect(path) => return Admission::Redirect(path),
            Normalised::Reject => return Admission::Refuse(Malformed::Path),
        }
        Admission::Go
    }

    fn new(mut parts: Parts, scheme: &'static str) -> Self {
        let extended = parts.extensions.remove::<Protocol>();
        let upgrade = match (&parts.method, extended) {
            (_, Some(protocol)) => Some(protocol.0.to_ascii_lowercase()),
            (&Method::CONNECT, None) => Some("connect".to_owned()),
            _ if parts.version >= Version::HTTP_2 => None,
            _ => upgrade_protocol(&parts.headers).map(str::to_ascii_lowercase),
        };
        // The request target wins over Host: RFC 9112 section 3.2.2.
        let authority = match parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => parts.headers.get(header::HOST).map_or("", text),
        };
        let authority = authority.to_owned();
        Self {
            method: parts.method,
            version: parts.version,
            headers: parts.headers,
            extensions: parts.extensions,
            scheme,
            // h2c by Upgrade is never taken: RFC 9113 has dropped it.
            upgrade: upgrade.filter(|protocol| protocol != "h2c"),
            uri: parts.uri,
            path: None,
            authority,
        }
    }

    fn strip_port(&mut self, rule: StripPort, listener_port: u16) {
        if rule == StripPort::Keep {
            return;
        }
        let authority = self.authority();
        let Some((host, port)) = authority.rsplit_once(':') else {
            return;
        };
        let Ok(port) = port.parse::<u16>() else {
            return;
        };
        if rule == StripPort::Any || port == listener_port {
            let length = host.len();
            self.authority.truncate(length);
        }
    }

    /// Path with query, normalised; empty for a CONNECT.
    pub(crate) fn path(&self) -> &str {
        match &self.path {
            Some(path) => path,
            None if self.method == Method::CONNECT && self.uri.path_and_query().is_none() => "",
            None => self.uri.path_and_query().map_or("/", |path| path.as_str()),
        }
    }

    /// `host[:port]`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The request target in origin form; shares memory with what the client sent.
    ///
    /// # Errors
    /// If a path that a rule wrote is no valid one.
    pub(crate) fn path_and_query(
        &self,
        rewritten: Option<&str>,
    ) -> Result<PathAndQuery, InvalidUri> {
        match (rewritten, &self.path, self.uri.path_and_query()) {
            (Some(path), _, _) => PathAndQuery::try_from(path),
            (None, Some(path), _) => PathAndQuery::try_from(path.as_str()),
            (None, None, Some(path)) => Ok(path.clone()),
            (None, None, None) => Ok(PathAndQuery::from_static("/")),
        }
    }

    /// What routing and policy see.
    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: self.method.as_str(),
            path: self.path(),
            authority: self.authority(),
            scheme: self.scheme,
            headers: &self.headers,
        }
    }

    /// `HTTP/1.1` and the like.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }

    /// Bytes of the head as Istio counts them into `istio_request_bytes`.
    pub(crate) fn size_bytes(&self) -> u64 {
        let line = self.method.as_str().len() + self.path().len() + self.authority().len();
        (line + size_of_headers(&self.headers)) as u64
    }
}

/// Bytes of names and values.
pub(crate) fn size_of_headers(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// A value as text, empty if it is not ASCII.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
