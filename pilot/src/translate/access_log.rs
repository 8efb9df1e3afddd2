//! The access log, as MeshConfig asks for it.
//!
//! Source: Istio's default text format; Envoy's file access log.

use mesh_config::{MeshConfig, mesh_config::AccessLogEncoding};
use mesh_xds::any::pack;
use mesh_xds::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat,
};
use mesh_xds::google::protobuf as pb;

use super::wire::*;

const NAME: &str = "envoy.access_loggers.file";

/// Istio's line: Envoy's default plus what the mesh knows.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% \
    %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
    %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The same fields for JSON, by Istio's keys.
const JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
];

/// The access loggers of a connection manager or TCP proxy; empty when the mesh has none.
pub(crate) fn build(mesh: &MeshConfig) -> Vec<accesslog::AccessLog> {
    let Some(path) = &mesh.access_log_file else {
        return Vec::new();
    };
    let format = base::SubstitutionFormatString {
        format: Some(match mesh.access_log_encoding {
            AccessLogEncoding::Text => text(mesh),
            AccessLogEncoding::Json => json(mesh),
        }),
        ..base::SubstitutionFormatString::default()
    };
    let config = FileAccessLog {
        path: path.clone(),
        access_log_format: Some(AccessLogFormat::LogFormat(format)),
    };
    vec![accesslog::AccessLog {
        name: NAME.to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(
            &config,
        ))),
        filter: None,
    }]
}

/// The access loggers of a listener: connections that no filter chain takes (flag NR).
pub(crate) fn listener(mesh: &MeshConfig) -> Vec<accesslog::AccessLog> {
    let mut logs = build(mesh);
    for log in &mut logs {
        log.filter = Some(accesslog::AccessLogFilter {
            filter_specifier: Some(
                accesslog::access_log_filter::FilterSpecifier::ResponseFlagFilter(
                    accesslog::ResponseFlagFilter {
                        flags: vec!["NR".to_owned()],
                    },
                ),
            ),
        });
    }
    logs
}

fn text(mesh: &MeshConfig) -> base::substitution_format_string::Format {
    let mut line = mesh.access_log_format.clone().unwrap_or(TEXT.to_owned());
    if !line.ends_with('\n') {
        line.push('\n');
    }
    base::substitution_format_string::Format::TextFormatSource(base::DataSource {
        specifier: Some(base::data_source::Specifier::InlineString(line)),
        watched_directory: None,
    })
}

/// An object of the user's, or Istio's fields. A user's text that is no JSON object is logged under
/// `message`, as it is.
fn json(mesh: &MeshConfig) -> base::substitution_format_string::Format {
    let own = mesh.access_log_format.as_deref().map(|text| {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(serde_json::Value::Object(fields)) => structure(
                fields
                    .into_iter()
                    .map(|(key, value)| (key, json_value(&value))),
            ),
            _ => structure([("message", string_value(text))]),
        }
    });
    let fields =
        own.unwrap_or_else(|| structure(JSON.map(|(key, value)| (key, string_value(value)))));
    base::substitution_format_string::Format::JsonFormat(fields)
}

fn json_value(value: &serde_json::Value) -> pb::Value {
    match value {
        serde_json::Value::Object(fields) => struct_value(structure(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), json_value(value))),
        )),
        serde_json::Value::String(text) => string_value(text.clone()),
        other => string_value(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::decode::access_log_format::{PLAIN, WITH_ARGUMENT};
    use mesh_telemetry::access_log::Format;

    use super::{JSON, TEXT};

    /// What users may write is what proxies can log.
    #[test]
    fn commands_that_are_let_in_are_those_that_the_proxy_knows() {
        let argument = |name: &str| if name == "START_TIME" { "%Y" } else { "X-A" };
        let plain = PLAIN.iter().map(|name| format!("%{name}%"));
        let with = WITH_ARGUMENT
            .iter()
            .map(|name| format!("%{name}({})%", argument(name)));
        let ours = JSON.iter().map(|(_, text)| (*text).to_owned());
        for text in plain.chain(with).chain(ours).chain([TEXT.to_owned()]) {
            assert_eq!(Format::parse(&text).err(), None, "{text}");
        }
    }
}
