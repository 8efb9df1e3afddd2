//! The HTTP connection manager.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use mesh_xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_xds::envoy::r#type::tracing::v3 as tracing;

use crate::compile::{
    Unset, access_log, disregard, filters, flag, known, name, nothing_left, number, protocol,
    route, some_duration, some_name, take, timeout,
};
use crate::error::{At, Refused};
use crate::http_manager::{
    CertificateDetails, Codec, EscapedSlashes, ForwardClientCertificate, HttpManager,
    PathNormalisation, RouteSource, ServerHeader, StripPort, TraceTag, Tracing,
};

/// Envoy's stream idle timeout.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Envoy's drain timeout.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's request header limit.
const MAX_REQUEST_HEADERS_KIB: u32 = 60;

pub(crate) fn manager(mut config: hcm::HttpConnectionManager) -> Result<HttpManager, Refused> {
    ignore_harmless(&mut config);
    let common = protocol::common(take(&mut config.common_http_protocol_options))
        .at(|| "common_http_protocol_options".to_owned())?;
    let http1 = protocol::http1(take(&mut config.http_protocol_options))
        .at(|| "http_protocol_options".to_owned())?;
    let http2 = protocol::http2(take(&mut config.http2_protocol_options))
        .at(|| "http2_protocol_options".to_owned())?;
    let compiled = HttpManager {
        routes: routes(take(&mut config.route_specifier))?,
        filters: filters::http(take(&mut config.http_filters))?,
        codec: codec(take(&mut config.codec_type))?,
        server_header: server_header(&mut config)?,
        use_remote_address: flag(take(&mut config.use_remote_address), Unset::False),
        xff_trusted_hops: take(&mut config.xff_num_trusted_hops),
        skip_xff_append: take(&mut config.skip_xff_append),
        client_certificate: client_certificate(&mut config)?,
        path: normalisation(&mut config)?,
        strip_port: strip_port(&mut config),
        idle_timeout: common.idle_timeout,
        stream_idle_timeout: timeout(
            take(&mut config.stream_idle_timeout),
            Some(STREAM_IDLE_TIMEOUT),
            "stream_idle_timeout",
        )?,
        request_timeout: timeout(take(&mut config.request_timeout), None, "request_timeout")?,
        request_headers_timeout: timeout(
            take(&mut config.request_headers_timeout),
            None,
            "request_headers_timeout",
        )?,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        drain_timeout: some_duration(take(&mut config.drain_timeout), "drain_timeout")?
            .unwrap_or(DRAIN_TIMEOUT),
        max_requests_per_connection: common.max_requests_per_connection,
        max_request_headers_kib: number(take(&mut config.max_request_headers_kb))
            .unwrap_or(MAX_REQUEST_HEADERS_KIB),
        http1,
        http2_max_concurrent_streams: http2.max_concurrent_streams,
        http2_stream_window_bytes: http2.stream_window_bytes,
        http2_connection_window_bytes: http2.connection_window_bytes,
        upgrades: upgrades(take(&mut config.upgrade_configs))?,
        access_logs: access_log::logs(take(&mut config.access_log))?,
        generate_request_id: flag(take(&mut config.generate_request_id), Unset::True),
        preserve_external_request_id: take(&mut config.preserve_external_request_id),
        request_id_in_response: take(&mut config.always_set_request_id_in_response),
        tracing: take(&mut config.tracing)
            .map(tracing)
            .transpose()
            .at(|| "tracing".to_owned())?,
        via: header_value(&take(&mut config.via), "via")?,
    };
    nothing_left(&config)?;
    Ok(compiled)
}

/// Statistics; error handling of malformed messages, where ours is the strict one; internal
/// addresses, which only matter to features refused elsewhere; log flushing; the standard
/// UUID request id; 100-continue, which we always pass on.
fn ignore_harmless(config: &mut hcm::HttpConnectionManager) {
    disregard!(config: stat_prefix, stream_error_on_invalid_http_message, internal_address_config, access_log_options,
        access_log_flush_interval, flush_access_log_on_new_request, request_id_extension, proxy_100_continue,
        delayed_close_timeout, stream_flush_timeout, http1_safe_max_connection_duration, proxy_status_config,
        append_local_overload, drain_timeout_jitter);
    // The default of Envoy itself: leave user-agent alone.
    if config.add_user_agent.is_some_and(|add| !add.value) {
        config.add_user_agent = None;
    }
}

fn routes(
    specifier: Option<hcm::http_connection_manager::RouteSpecifier>,
) -> Result<RouteSource, Refused> {
    use hcm::http_connection_manager::RouteSpecifier;
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let name = some_name(&rds.route_config_name)
                .ok_or_else(|| Refused::missing("rds.route_config_name"))?;
            Ok(RouteSource::Rds(name))
        }
        Some(RouteSpecifier::RouteConfig(config)) => {
            let table = route::table(config).at(|| "route_config".to_owned())?;
            Ok(RouteSource::Inline(Arc::new(table)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(Refused::unsupported("scoped_routes")),
        None => Err(Refused::missing("route_specifier")),
    }
}

fn codec(kind: i32) -> Result<Codec, Refused> {
    use hcm::http_connection_manager::CodecType;
    Ok(match known(kind, "codec_type")? {
        CodecType::Auto => Codec::Auto,
        CodecType::Http1 => Codec::Http1,
        CodecType::Http2 => Codec::Http2,
        CodecType::Http3 => {
            return Err(Refused::field(
                "codec_type",
                "HTTP3 is not supported by this proxy",
            ));
        }
    })
}

/// `None`: empty.
fn header_value(text: &str, field: &str) -> Result<Option<HeaderValue>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::from_str(text);
    let value = value.map_err(|_| Refused::field(field, "no header can have this value"))?;
    Ok(Some(value))
}

fn server_header(config: &mut hcm::HttpConnectionManager) -> Result<ServerHeader, Refused> {
    use hcm::http_connection_manager::ServerHeaderTransformation as Transformation;
    let server = header_value(&take(&mut config.server_name), "server_name")?
        .unwrap_or(HeaderValue::from_static("envoy"));
    let how = take(&mut config.server_header_transformation);
    Ok(match known(how, "server_header_transformation")? {
        Transformation::Overwrite => ServerHeader::Overwrite(server),
        Transformation::AppendIfAbsent => ServerHeader::AppendIfAbsent(server),
        Transformation::PassThrough => ServerHeader::PassThrough,
    })
}

fn client_certificate(
    config: &mut hcm::HttpConnectionManager,
) -> Result<ForwardClientCertificate, Refused> {
    use hcm::http_connection_manager::ForwardClientCertDetails as Forward;
    let set = take(&mut config.set_current_client_cert_details).unwrap_or_default();
    if set.issuer || set.format != 0 {
        return Err(Refused::unsupported(
            "set_current_client_cert_details.issuer or .format",
        ));
    }
    let details = CertificateDetails {
        subject: flag(set.subject, Unset::False),
        uri: set.uri,
        dns: set.dns,
        certificate: set.cert,
        chain: set.chain,
    };
    Ok(
        match known(
            take(&mut config.forward_client_cert_details),
            "forward_client_cert_details",
        )? {
            Forward::Sanitize => ForwardClientCertificate::Sanitize,
            Forward::ForwardOnly => ForwardClientCertificate::ForwardOnly,
            Forward::AppendForward => ForwardClientCertificate::AppendForward(details),
            Forward::SanitizeSet => ForwardClientCertificate::SanitizeSet(details),
            Forward::AlwaysForwardOnly => ForwardClientCertificate::AlwaysForwardOnly,
        },
    )
}

fn normalisation(config: &mut hcm::HttpConnectionManager) -> Result<PathNormalisation, Refused> {
    use hcm::http_connection_manager::PathWithEscapedSlashesAction as Action;
    let action = take(&mut config.path_with_escaped_slashes_action);
    Ok(PathNormalisation {
        // Envoy's own default is a runtime switch that is off.
        normalize: flag(take(&mut config.normalize_path), Unset::False),
        merge_slashes: take(&mut config.merge_slashes),
        escaped_slashes: match known(action, "path_with_escaped_slashes_action")? {
            Action::ImplementationSpecificDefault | Action::KeepUnchanged => EscapedSlashes::Keep,
            Action::RejectRequest => EscapedSlashes::Reject,
            Action::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
            Action::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
        },
    })
}

fn strip_port(config: &mut hcm::HttpConnectionManager) -> StripPort {
    use hcm::http_connection_manager::StripPortMode;
    let matching = take(&mut config.strip_matching_host_port);
    match take(&mut config.strip_port_mode) {
        Some(StripPortMode::StripAnyHostPort(true)) => StripPort::Any,
        _ if matching => StripPort::Matching,
        _ => StripPort::Keep,
    }
}

fn upgrades(
    list: Vec<hcm::http_connection_manager::UpgradeConfig>,
) -> Result<Vec<Arc<str>>, Refused> {
    let mut allowed = Vec::new();
    for (at, upgrade) in list.into_iter().enumerate() {
        if !upgrade.filters.is_empty() {
            return Err(Refused::unsupported(format!(
                "upgrade_configs[{at}].filters"
            )));
        }
        if flag(upgrade.enabled, Unset::True) {
            allowed.push(name(&upgrade.upgrade_type.to_ascii_lowercase()));
        }
    }
    Ok(allowed)
}

fn tracing(mut config: hcm::http_connection_manager::Tracing) -> Result<Tracing, Refused> {
    // Span details and names are ours. Where spans go is the proxy's own configuration: a
    // provider here only says that there is one.
    disregard!(config: verbose, max_path_tag_length, provider, spawn_upstream_span, operation, upstream_operation);
    let percent = |share: Option<mesh_xds::envoy::r#type::v3::Percent>| {
        share.map_or(100.0, |share| share.value)
    };
    let compiled = Tracing {
        random_sampling_percent: percent(take(&mut config.random_sampling)),
        overall_sampling_percent: percent(take(&mut config.overall_sampling)),
        client_sampling_percent: percent(take(&mut config.client_sampling)),
        tags: take(&mut config.custom_tags)
            .into_iter()
            .enumerate()
            .map(|(at, custom)| tag(custom).at(|| format!("custom_tags[{at}]")))
            .collect::<Result<_, _>>()?,
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn tag(custom: tracing::CustomTag) -> Result<(Arc<str>, TraceTag), Refused> {
    use tracing::custom_tag::Type;
    let value = match custom.r#type {
        Some(Type::Literal(literal)) => TraceTag::Literal(name(&literal.value)),
        Some(Type::RequestHeader(header)) => TraceTag::Header(
            name(&header.name.to_ascii_lowercase()),
            name(&header.default_value),
        ),
        Some(Type::Environment(variable)) => {
            TraceTag::Environment(name(&variable.name), name(&variable.default_value))
        }
        Some(Type::Metadata(_)) => return Err(Refused::unsupported("metadata")),
        Some(Type::Value(_)) => return Err(Refused::unsupported("value")),
        None => return Err(Refused::missing("type")),
    };
    Ok((name(&custom.tag), value))
}
