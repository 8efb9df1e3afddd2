//! What routes do: redirects, direct answers, faults and cross-origin rules.

use bytes::Bytes;
use mesh_config::Percent;
use mesh_config::virtual_service::{
    AbortStatus, CorsPolicy, DirectResponse, HttpFault, HttpRedirect, RedirectPort, RedirectUri,
    UnmatchedPreflights,
};
use mesh_xds::any::pack;
use mesh_xds::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use mesh_xds::envoy::extensions::filters::http::cors::v3 as cors;
use mesh_xds::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault as EnvoyFault, fault_abort::ErrorType,
};

use super::matching;
use crate::translate::wire::*;
use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

/// A redirect. `port`: on which the request came in; `tls`: whether it was encrypted.
pub(super) fn redirect(from: &HttpRedirect, port: u16, tls: bool) -> route::route::Action {
    let scheme = from.scheme.as_deref();
    let effective = scheme.unwrap_or(if tls { "https" } else { "http" });
    let mut to_port = match from.port {
        Some(RedirectPort::Number(number)) => number.get(),
        Some(RedirectPort::FromRequestPort) => port,
        Some(RedirectPort::FromProtocolDefault) | None => 0,
    };
    if matches!((to_port, effective), (80, "http") | (443, "https")) {
        to_port = 0; // The scheme says it.
    }
    let code = match from.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    route::route::Action::Redirect(route::RedirectAction {
        host_redirect: from.authority.clone().unwrap_or_default(),
        port_redirect: to_port.into(),
        response_code: code.into(),
        path_rewrite_specifier: from.uri.as_ref().map(|uri| match uri {
            RedirectUri::Full(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
            RedirectUri::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix.clone()),
        }),
        scheme_rewrite_specifier: scheme
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_owned())),
        strip_query: false,
    })
}

/// An answer by the proxy itself.
pub(super) fn direct_response(from: &DirectResponse) -> route::route::Action {
    route::route::Action::DirectResponse(route::DirectResponseAction {
        status: from.status.into(),
        body: from.body.as_ref().map(|body| base::DataSource {
            specifier: Some(match std::str::from_utf8(body) {
                Ok(text) => base::data_source::Specifier::InlineString(text.to_owned()),
                Err(_) => base::data_source::Specifier::InlineBytes(Bytes::copy_from_slice(body)),
            }),
            watched_directory: None,
        }),
        body_format: None,
    })
}

/// Injected faults.
pub(super) fn fault(from: &HttpFault) -> Any {
    pack(&EnvoyFault {
        delay: from.delay.as_ref().map(|delay| FaultDelay {
            percentage: Some(fraction(delay.percentage)),
            fault_delay_secifier: duration(delay.fixed).map(FaultDelaySecifier::FixedDelay),
        }),
        abort: from.abort.as_ref().map(|abort| FaultAbort {
            percentage: Some(fraction(abort.percentage)),
            error_type: Some(match abort.status {
                AbortStatus::Http(status) => ErrorType::HttpStatus(status.into()),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status.into()),
            }),
            ..FaultAbort::default()
        }),
        ..EnvoyFault::default()
    })
}

/// Cross-origin rules.
pub(super) fn cors_policy(from: &CorsPolicy) -> Any {
    pack(&cors::CorsPolicy {
        allow_origin_string_match: from.allow_origins.iter().map(matching::string).collect(),
        allow_methods: from.allow_methods.join(","),
        allow_headers: from.allow_headers.join(","),
        expose_headers: from.expose_headers.join(","),
        max_age: from
            .max_age
            .map(|age| age.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: from.allow_credentials.and_then(boolean),
        filter_enabled: Some(runtime_fraction(Percent::HUNDRED)),
        forward_not_matching_preflights: boolean(
            from.unmatched_preflights == UnmatchedPreflights::Forward,
        ),
        ..cors::CorsPolicy::default()
    })
}
