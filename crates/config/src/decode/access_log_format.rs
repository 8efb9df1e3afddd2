//! Checks `accessLogFormat` where the user writes it: a proxy that gets a format it does not know
//! can only refuse its whole configuration, or log something else.
//!
//! The lists are those of the proxy's own formatter; a test of the control plane, which sees both,
//! holds them together.

/// Commands that stand alone: `%PROTOCOL%`.
pub const PLAIN: &[&str] = &[
    "START_TIME",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "CONNECTION_TERMINATION_DETAILS",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DURATION",
    "RESPONSE_DURATION",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "REQUESTED_SERVER_NAME",
    "ROUTE_NAME",
    "DOWNSTREAM_PEER_URI_SAN",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_HOST",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
];

/// Commands with an argument: `%REQ(:METHOD)%`.
pub const WITH_ARGUMENT: &[&str] = &["START_TIME", "REQ", "RESP", "TRAILER"];

/// What is wrong with a format, and what to do about it.
pub(super) fn check(format: &str) -> Result<(), (String, String)> {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        let Some(end) = closing(after) else {
            let at = format.len() - after.len() - 1;
            return Err((
                format!("the % at byte {at} is not closed"),
                "write %% for a percent sign".to_owned(),
            ));
        };
        let command = &after[..end];
        if !command.is_empty() {
            check_command(command)?;
        }
        rest = &after[end + 1..];
    }
    Ok(())
}

/// The `%` that closes a command; inside parentheses it belongs to the argument.
fn closing(text: &str) -> Option<usize> {
    let mut inside = false;
    text.bytes().position(|byte| {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            _ => {}
        }
        byte == b'%' && !inside
    })
}

fn check_command(command: &str) -> Result<(), (String, String)> {
    let (name, known) = match command.split_once('(') {
        Some((name, _)) => (name, WITH_ARGUMENT),
        None => (command.split(':').next().unwrap_or(command), PLAIN),
    };
    if known.contains(&name) {
        return Ok(());
    }
    let remedy = match (PLAIN.contains(&name), WITH_ARGUMENT.contains(&name)) {
        (true, _) => format!("write %{name}% without parentheses"),
        (_, true) => format!("write %{name}(ARGUMENT)%"),
        _ => {
            let with = WITH_ARGUMENT.iter().map(|name| format!("{name}(..)"));
            let all: Vec<String> = with.chain(PLAIN.iter().map(ToString::to_string)).collect();
            format!("take it out, or use one of {}", all.join(", "))
        }
    };
    Err((format!("%{command}% is not supported"), remedy))
}
