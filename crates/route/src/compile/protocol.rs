//! HTTP protocol options, of listeners and clusters alike.

use std::time::Duration;

use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::extensions::upstreams::http::v3 as upstream;

use crate::cluster::{HttpOptions, HttpProtocol};
use crate::compile::{Unset, disregard, flag, nothing_left, number, some_duration, take, timeout};
use crate::error::{At, Refused};
use crate::http_manager::Http1Options;

/// Envoy's idle timeout of HTTP connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What both sides take from `HttpProtocolOptions` of the core package.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_connection_duration: Option<Duration>,
    pub(crate) max_stream_duration: Option<Duration>,
    pub(crate) max_requests_per_connection: u32,
}

/// What both sides take from `Http2ProtocolOptions`.
#[derive(Debug, Default)]
pub(crate) struct Http2 {
    pub(crate) max_concurrent_streams: Option<u32>,
    pub(crate) stream_window_bytes: Option<u32>,
    pub(crate) connection_window_bytes: Option<u32>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Option<Duration>,
}

pub(crate) fn common(options: Option<core::HttpProtocolOptions>) -> Result<Common, Refused> {
    let mut options = options.unwrap_or_default();
    // Header counts and sizes are bounded by our codecs.
    disregard!(options: max_headers_count, max_response_headers_kb, max_connection_duration_jitter);
    let compiled = Common {
        idle_timeout: timeout(
            take(&mut options.idle_timeout),
            Some(IDLE_TIMEOUT),
            "idle_timeout",
        )?,
        max_connection_duration: timeout(
            take(&mut options.max_connection_duration),
            None,
            "max_connection_duration",
        )?,
        max_stream_duration: timeout(
            take(&mut options.max_stream_duration),
            None,
            "max_stream_duration",
        )?,
        max_requests_per_connection: number(take(&mut options.max_requests_per_connection))
            .unwrap_or(0),
    };
    nothing_left(&options)?;
    Ok(compiled)
}

pub(crate) fn http1(options: Option<core::Http1ProtocolOptions>) -> Result<Http1Options, Refused> {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let mut options = options.unwrap_or_default();
    // Parser choice and error handling: ours is the strict one.
    disregard!(options: use_balsa_parser, override_stream_error_on_invalid_http_message, allow_custom_methods);
    let format = take(&mut options.header_key_format).and_then(|format| format.header_format);
    let preserve_case = match format {
        Some(HeaderFormat::StatefulFormatter(_)) => true,
        Some(HeaderFormat::ProperCaseWords(_)) => {
            return Err(Refused::unsupported("header_key_format.proper_case_words"));
        }
        None => false,
    };
    let compiled = Http1Options {
        accept_http_10: take(&mut options.accept_http_10),
        allow_absolute_url: flag(take(&mut options.allow_absolute_url), Unset::True),
        enable_trailers: take(&mut options.enable_trailers),
        preserve_case,
    };
    nothing_left(&options)?;
    Ok(compiled)
}

pub(crate) fn http2(options: Option<core::Http2ProtocolOptions>) -> Result<Http2, Refused> {
    let Some(mut options) = options else {
        return Ok(Http2::default());
    };
    // Flood limits, HPACK tuning and error handling are those of our codec; extended CONNECT
    // is always allowed where a route takes it.
    disregard!(options: hpack_table_size, allow_connect, max_outbound_frames, max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message, use_oghttp2_codec, max_metadata_size, enable_huffman_encoding,
        max_header_field_size_kb, disallow_obs_text, stream_reset_burst, stream_reset_rate);
    let keepalive = take(&mut options.connection_keepalive).unwrap_or_default();
    let compiled = Http2 {
        max_concurrent_streams: number(take(&mut options.max_concurrent_streams)),
        stream_window_bytes: number(take(&mut options.initial_stream_window_size)),
        connection_window_bytes: number(take(&mut options.initial_connection_window_size)),
        ping_interval: some_duration(keepalive.interval, "connection_keepalive.interval")?,
        ping_timeout: some_duration(keepalive.timeout, "connection_keepalive.timeout")?,
    };
    nothing_left(&options)?;
    Ok(compiled)
}

/// Options of a cluster, from the typed extension, or from the older fields of the cluster.
pub(crate) fn upstream(
    mut options: upstream::HttpProtocolOptions,
) -> Result<(HttpOptions, AutoSni), Refused> {
    use upstream::http_protocol_options::UpstreamProtocolOptions as Kind;
    let common_options = common(take(&mut options.common_http_protocol_options))
        .at(|| "common_http_protocol_options".to_owned())?;
    let auto = auto_sni(take(&mut options.upstream_http_protocol_options))?;
    let kind = take(&mut options.upstream_protocol_options);
    nothing_left(&options)?;
    let (protocol, one, two) = match kind {
        Some(Kind::ExplicitHttpConfig(explicit)) => explicit_protocol(explicit)?,
        Some(Kind::UseDownstreamProtocolConfig(config))
            if config.http3_protocol_options.is_none() =>
        {
            (
                HttpProtocol::Downstream,
                config.http_protocol_options,
                config.http2_protocol_options,
            )
        }
        Some(Kind::AutoConfig(config))
            if config.http3_protocol_options.is_none()
                && config.alternate_protocols_cache_options.is_none() =>
        {
            (
                HttpProtocol::Alpn,
                config.http_protocol_options,
                config.http2_protocol_options,
            )
        }
        Some(_) => return Err(Refused::unsupported("http3_protocol_options")),
        None => (HttpProtocol::Http1, None, None),
    };
    let built = build(
        protocol,
        common_options,
        http1(one).at(|| "http_protocol_options".to_owned())?,
        http2(two).at(|| "http2_protocol_options".to_owned())?,
    );
    Ok((built, auto))
}

type Explicit = (
    HttpProtocol,
    Option<core::Http1ProtocolOptions>,
    Option<core::Http2ProtocolOptions>,
);

fn explicit_protocol(
    explicit: upstream::http_protocol_options::ExplicitHttpConfig,
) -> Result<Explicit, Refused> {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    match explicit.protocol_config {
        Some(ProtocolConfig::HttpProtocolOptions(one)) => {
            Ok((HttpProtocol::Http1, Some(one), None))
        }
        Some(ProtocolConfig::Http2ProtocolOptions(two)) => {
            Ok((HttpProtocol::Http2, None, Some(two)))
        }
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            Err(Refused::unsupported("http3_protocol_options"))
        }
        None => Err(Refused::missing("explicit_http_config.protocol_config")),
    }
}

/// SNI and SAN from the request's host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AutoSni {
    pub(crate) sni: bool,
    pub(crate) san: bool,
}

pub(crate) fn auto_sni(
    options: Option<core::UpstreamHttpProtocolOptions>,
) -> Result<AutoSni, Refused> {
    let options = options.unwrap_or_default();
    if !options.override_auto_sni_header.is_empty() {
        return Err(Refused::unsupported(
            "upstream_http_protocol_options.override_auto_sni_header",
        ));
    }
    Ok(AutoSni {
        sni: options.auto_sni,
        san: options.auto_san_validation,
    })
}

pub(crate) fn build(
    protocol: HttpProtocol,
    common: Common,
    http1: Http1Options,
    http2: Http2,
) -> HttpOptions {
    HttpOptions {
        protocol,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        max_requests_per_connection: common.max_requests_per_connection,
        max_concurrent_streams: http2.max_concurrent_streams,
        stream_window_bytes: http2.stream_window_bytes,
        connection_window_bytes: http2.connection_window_bytes,
        ping_interval: http2.ping_interval,
        ping_timeout: http2.ping_timeout,
        preserve_case: http1.preserve_case,
        enable_trailers: http1.enable_trailers,
    }
}
