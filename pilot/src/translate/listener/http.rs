//! HTTP connection managers.

use std::time::Duration;

use mesh_config::mesh_config::PathNormalization;
use mesh_xds::envoy::extensions::filters::http::cors::v3::Cors;
use mesh_xds::envoy::extensions::filters::http::fault::v3::HttpFault;
use mesh_xds::envoy::extensions::filters::http::router::v3::Router;

use crate::translate::{access_log, audience::View, names, wire::*};
use hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, Tracing, UpgradeConfig,
};

/// Whose requests a connection manager takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The application's own, on their way out.
    Outbound,
    /// Those for the application.
    Inbound,
    /// Those of a gateway's clients.
    Gateway,
}

/// Where the routes come from.
pub(super) enum Routes {
    /// By RDS under this name.
    Named(String),
    /// In place.
    Inline(Box<route::RouteConfiguration>),
}

/// A connection manager, as a network filter. `authorization`: filters that requests pass first, where
/// the mesh is entered.
pub(super) fn filter(
    cx: &View<'_>,
    side: Side,
    stat_prefix: &str,
    routes: Routes,
    authorization: Vec<hcm::HttpFilter>,
) -> listener::Filter {
    let mut manager = manager(cx, side, stat_prefix, routes);
    manager.http_filters = filters(authorization);
    network_filter(names::HCM, &manager)
}

fn manager(
    cx: &View<'_>,
    side: Side,
    stat_prefix: &str,
    routes: Routes,
) -> hcm::HttpConnectionManager {
    let mesh = cx.mesh();
    let mut out = hcm::HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(match routes {
            Routes::Named(name) => RouteSpecifier::Rds(hcm::Rds {
                config_source: Some(ads()),
                route_config_name: name,
            }),
            Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
        }),
        access_log: access_log::build(mesh),
        // The outbound side is the edge of the mesh for its application, a gateway that of the mesh.
        use_remote_address: boolean(side == Side::Gateway),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        // Streams may idle: applications and routes have timeouts of their own.
        stream_idle_timeout: duration(Duration::ZERO),
        server_name: "istio-envoy".to_owned(),
        generate_request_id: boolean(true),
        proxy_100_continue: true,
        ..hcm::HttpConnectionManager::default()
    };
    out.tracing = mesh.enable_tracing.then(|| Tracing {
        random_sampling: Some(types::Percent {
            value: cx.config().tracing.sampling.as_f64(),
        }),
        ..Tracing::default()
    });
    normalize_paths(&mut out, mesh.path_normalization);
    match side {
        Side::Outbound => {
            out.forward_client_cert_details = ForwardClientCertDetails::Sanitize.into();
        }
        Side::Inbound => {
            out.server_header_transformation =
                hcm::http_connection_manager::ServerHeaderTransformation::PassThrough.into();
            out.forward_client_cert_details = ForwardClientCertDetails::AppendForward.into();
            out.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
                subject: boolean(true),
                uri: true,
                dns: true,
                ..SetCurrentClientCertDetails::default()
            });
        }
        Side::Gateway => {
            out.xff_num_trusted_hops = cx.config().trusted_proxies;
            out.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet.into();
            out.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
                subject: boolean(true),
                cert: true,
                uri: true,
                dns: true,
                ..SetCurrentClientCertDetails::default()
            });
        }
    }
    out
}

fn normalize_paths(out: &mut hcm::HttpConnectionManager, mode: PathNormalization) {
    out.path_with_escaped_slashes_action = PathWithEscapedSlashesAction::KeepUnchanged.into();
    out.normalize_path = boolean(mode != PathNormalization::None);
    out.merge_slashes = matches!(
        mode,
        PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
    );
    if mode == PathNormalization::DecodeAndMergeSlashes {
        out.path_with_escaped_slashes_action =
            PathWithEscapedSlashesAction::UnescapeAndForward.into();
    }
}

/// Authorization first, then what routes may configure, then the router.
fn filters(authorization: Vec<hcm::HttpFilter>) -> Vec<hcm::HttpFilter> {
    let mut out = authorization;
    out.push(http_filter(names::FAULT, &HttpFault::default()));
    out.push(http_filter(names::CORS, &Cors::default()));
    out.push(http_filter(names::ROUTER, &Router::default()));
    out
}
