//! Header additions and removals, and the `%COMMANDS%` in them.

use http::{HeaderName, HeaderValue};
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::core::v3::header_value_option::HeaderAppendAction;

use crate::compile::{known, matchers, take};
use crate::error::{At, Refused};
use crate::mutate::{Changes, Command, HeaderMutations, How, Piece, Set, Value};

/// The four header fields that every level of a route table has.
pub(crate) struct Fields {
    pub(crate) request_add: Vec<core::HeaderValueOption>,
    pub(crate) request_remove: Vec<String>,
    pub(crate) response_add: Vec<core::HeaderValueOption>,
    pub(crate) response_remove: Vec<String>,
}

/// Takes the four fields out of a message that has them.
macro_rules! header_fields {
    ($message:expr) => {
        $crate::compile::headers::Fields {
            request_add: std::mem::take(&mut $message.request_headers_to_add),
            request_remove: std::mem::take(&mut $message.request_headers_to_remove),
            response_add: std::mem::take(&mut $message.response_headers_to_add),
            response_remove: std::mem::take(&mut $message.response_headers_to_remove),
        }
    };
}
pub(crate) use header_fields;

pub(crate) fn mutations(fields: Fields) -> Result<HeaderMutations, Refused> {
    let request = Changes {
        set: sets(fields.request_add, "request_headers_to_add")?,
        remove: removals(fields.request_remove, "request_headers_to_remove")?,
    };
    let response = Changes {
        set: sets(fields.response_add, "response_headers_to_add")?,
        remove: removals(fields.response_remove, "response_headers_to_remove")?,
    };
    Ok(HeaderMutations::new(request, response))
}

fn sets(options: Vec<core::HeaderValueOption>, field: &str) -> Result<Vec<Set>, Refused> {
    options
        .into_iter()
        .enumerate()
        .map(|(at, option)| set(option).at(|| format!("{field}[{at}]")))
        .collect()
}

fn removals(names: Vec<String>, field: &str) -> Result<Vec<HeaderName>, Refused> {
    names
        .into_iter()
        .enumerate()
        .map(|(at, name)| ordinary(&name).at(|| format!("{field}[{at}]")))
        .collect()
}

/// Pseudo-headers and host have their own rewrites.
fn ordinary(name: &str) -> Result<HeaderName, Refused> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(Refused::new(format!(
            "{name:?} can't be changed here (rewrite the host or path instead)"
        )));
    }
    matchers::header_name(name)
}

fn set(option: core::HeaderValueOption) -> Result<Set, Refused> {
    let mut header = option.header.ok_or_else(|| Refused::missing("header"))?;
    let how = match (option.append, known(option.append_action, "append_action")?) {
        (Some(append), _) if append.value => How::Append,
        (Some(_), _) | (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => How::Overwrite,
        (None, HeaderAppendAction::AppendIfExistsOrAdd) => How::Append,
        (None, HeaderAppendAction::AddIfAbsent) => How::AddIfAbsent,
        (None, HeaderAppendAction::OverwriteIfExists) => How::OverwriteIfPresent,
    };
    let raw = take(&mut header.raw_value);
    let value = if raw.is_empty() {
        self::value(&header.value).at(|| "header.value".to_owned())?
    } else {
        let value = HeaderValue::from_bytes(&raw);
        Value::Fixed(
            value.map_err(|_| Refused::field("header.raw_value", "is not a header value"))?,
        )
    };
    Ok(Set {
        name: ordinary(&header.key).at(|| "header.key".to_owned())?,
        value,
        how,
        keep_empty: option.keep_empty_value,
    })
}

fn value(template: &str) -> Result<Value, Refused> {
    let mut pieces = parse(template)?;
    let text = match pieces.len() {
        0 => Some(String::new()),
        1 => match &mut pieces[0] {
            Piece::Text(text) => Some(std::mem::take(text).into_string()),
            Piece::Command(_) => None,
        },
        _ => None,
    };
    Ok(match text {
        Some(text) => Value::Fixed(
            HeaderValue::try_from(text)
                .map_err(|_| Refused::new(format!("{template:?} is not a header value")))?,
        ),
        None => Value::Composed(pieces),
    })
}

/// Splits a template at its `%COMMANDS%`; `%%` is a percent sign.
fn parse(template: &str) -> Result<Vec<Piece>, Refused> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (inside, after) = after.split_once('%').ok_or_else(|| {
            Refused::new(format!(
                "{template:?}: a `%` is not closed (write `%%` for the sign itself)"
            ))
        })?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text).into()));
        }
        pieces.push(Piece::Command(command(inside)?));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(pieces)
}

fn command(text: &str) -> Result<Command, Refused> {
    let refused = || {
        Refused::new(format!(
            "command %{text}% is not supported in headers by this proxy"
        ))
    };
    Ok(match text {
        "DOWNSTREAM_REMOTE_ADDRESS" => Command::DownstreamRemoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Command::DownstreamRemoteIp,
        "DOWNSTREAM_REMOTE_PORT" => Command::DownstreamRemotePort,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Command::DownstreamDirectRemoteAddress,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Command::DownstreamDirectRemoteIp,
        "DOWNSTREAM_LOCAL_ADDRESS" => Command::DownstreamLocalAddress,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Command::DownstreamLocalIp,
        "DOWNSTREAM_LOCAL_PORT" => Command::DownstreamLocalPort,
        "DOWNSTREAM_PEER_URI_SAN" => Command::PeerUri,
        "DOWNSTREAM_LOCAL_URI_SAN" => Command::LocalUri,
        "PROTOCOL" => Command::Protocol,
        "REQUESTED_SERVER_NAME" => Command::ServerName,
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Command::UpstreamHost,
        "UPSTREAM_CLUSTER" => Command::UpstreamCluster,
        "ROUTE_NAME" => Command::RouteName,
        "RESPONSE_CODE" => Command::ResponseCode,
        _ => {
            let (kind, arguments) = text.split_once('(').ok_or_else(refused)?;
            let (names, limit) = arguments.split_once(')').ok_or_else(refused)?;
            let limit = match limit {
                "" => None,
                limit => Some(
                    limit
                        .strip_prefix(':')
                        .and_then(|n| n.parse().ok())
                        .ok_or_else(refused)?,
                ),
            };
            let names = names
                .split('?')
                .map(|name| name.to_ascii_lowercase().into())
                .collect();
            match kind {
                "REQ" => Command::Request(names, limit),
                "RESP" => Command::Response(names, limit),
                _ => return Err(refused()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::mutate::FormatContext;

    fn option(key: &str, value: &str, action: HeaderAppendAction) -> core::HeaderValueOption {
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                ..Default::default()
            }),
            append_action: action.into(),
            ..Default::default()
        }
    }

    fn request(options: Vec<core::HeaderValueOption>) -> Result<HeaderMutations, Refused> {
        mutations(Fields {
            request_add: options,
            request_remove: vec!["x-gone".to_owned()],
            response_add: Vec::new(),
            response_remove: Vec::new(),
        })
    }

    #[test]
    fn headers_are_changed_as_their_action_says() {
        use HeaderAppendAction::{
            AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd,
        };
        let mutations = request(vec![
            option("x-a", "2", AppendIfExistsOrAdd),
            option("x-b", "2", AddIfAbsent),
            option("x-c", "2", OverwriteIfExistsOrAdd),
            option("x-d", "2", OverwriteIfExists),
            option(
                "x-from",
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% 100%% %REQ(X-A):1%/%REQ(x-none?:path)%",
                AddIfAbsent,
            ),
        ])
        .unwrap();
        let mut headers = HeaderMap::new();
        for name in ["x-a", "x-b", "x-c", "x-gone"] {
            headers.insert(name, HeaderValue::from_static("10"));
        }
        mutations.apply_request(
            &mut headers,
            &FormatContext {
                downstream_remote: Some("10.0.0.1:80".parse().unwrap()),
                path: Some("/p?q"),
                ..Default::default()
            },
        );
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert_eq!(headers["x-b"], "10");
        assert_eq!(headers["x-c"], "2");
        assert!(!headers.contains_key("x-d") && !headers.contains_key("x-gone"));
        assert_eq!(headers["x-from"], "10.0.0.1 100% 1//p?q");
    }

    #[test]
    fn unknown_commands_and_pseudo_headers_are_refused() {
        for (key, value, why) in [
            (
                "x",
                "%CEL(request)%",
                "request_headers_to_add[0].header.value: command %CEL(request)%",
            ),
            ("x", "50%", "a `%` is not closed"),
            (":path", "/", "can't be changed here"),
            ("host", "a", "can't be changed here"),
        ] {
            let refused =
                request(vec![option(key, value, HeaderAppendAction::AddIfAbsent)]).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
    }
}
