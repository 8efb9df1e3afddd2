//! TLS of a cluster: what the user configured, or mesh mTLS wherever the server can.

use mesh_config::tls::{ClientCertificate, ClientTls, OriginatedTls, ServerVerification};
use mesh_config::{Protocol, peer_authentication::MtlsMode};

use super::builder::Builder;
use crate::model::{Labels, Service, ServicePort};
use crate::translate::audience::View;
use crate::translate::tls::{MeshAlpn, mesh_client, raw_socket, upstream_socket, user_client};
use crate::translate::{names, wire::*};
use cluster::cluster::{DiscoveryType, TransportSocketMatch};

/// Sets the cluster's transport sockets.
///
/// `settings`: of the DestinationRule; `None` leaves it to auto mTLS. `selected`: the rule applies to
/// chosen workloads only, so that it may name a credential.
pub(super) fn apply(
    cx: &View<'_>,
    builder: &mut Builder,
    service: &Service,
    port: &ServicePort,
    subset: &str,
    settings: Option<&ClientTls>,
    selected: bool,
) {
    let sni = || names::mesh_sni(&service.hostname, subset, port.number);
    let alpn = alpn(builder, port.protocol);
    match settings {
        Some(ClientTls::Disable) => {}
        Some(ClientTls::IstioMutual {
            subject_alt_names,
            sni: own,
        }) => {
            let identities = if subject_alt_names.is_empty() {
                cx.identities(service)
            } else {
                subject_alt_names.clone()
            };
            let context = mesh_client(&identities, own.clone().unwrap_or_else(sni), alpn);
            builder.cluster.transport_socket = Some(upstream_socket(&context));
        }
        Some(settings) => user(cx, builder, service, settings, selected),
        None if uses_auto_mtls(cx, builder, service, port) => {
            let context = mesh_client(&cx.identities(service), sni(), alpn);
            auto(builder, upstream_socket(&context));
        }
        None => {}
    }
}

fn alpn(builder: &mut Builder, protocol: Protocol) -> MeshAlpn {
    if builder.http2().is_some() {
        MeshAlpn::Http2
    } else if protocol.is_http() {
        MeshAlpn::Http1
    } else {
        MeshAlpn::Tcp
    }
}

fn user(
    cx: &View<'_>,
    builder: &mut Builder,
    service: &Service,
    settings: &ClientTls,
    selected: bool,
) {
    // Sidecars may not read secrets of other workloads: Istio ignores such settings there.
    if cx.is_sidecar() && !selected && names_credential(settings) {
        return;
    }
    let http2 = builder.http2().is_some();
    let Some(context) = user_client(settings, &service.subject_alt_names, http2) else {
        return;
    };
    builder.cluster.transport_socket = Some(upstream_socket(&context));
    if let ClientTls::Simple(tls) | ClientTls::Mutual { tls, .. } = settings {
        name_server(builder, tls);
    }
}

fn names_credential(settings: &ClientTls) -> bool {
    let roots = |tls: &OriginatedTls| matches!(tls.verification, ServerVerification::Credential(_));
    match settings {
        ClientTls::Simple(tls) => roots(tls),
        ClientTls::Mutual { certificate, tls } => {
            roots(tls) || matches!(certificate, ClientCertificate::Credential(_))
        }
        ClientTls::Disable | ClientTls::IstioMutual { .. } => false,
    }
}

/// Without an SNI of the user's, the request's host is asked for, and must be in the certificate.
fn name_server(builder: &mut Builder, tls: &OriginatedTls) {
    if tls.sni.is_some() {
        return;
    }
    let verified = tls.verification != ServerVerification::Skip;
    builder.options().upstream_http_protocol_options = Some(base::UpstreamHttpProtocolOptions {
        auto_sni: true,
        auto_san_validation: tls.subject_alt_names.is_empty() && verified,
        ..base::UpstreamHttpProtocolOptions::default()
    });
}

/// Source: Istio's inference: never outside the mesh, never where the namespace disables mTLS, and
/// towards headless services only if every endpoint takes it.
fn uses_auto_mtls(cx: &View<'_>, builder: &Builder, service: &Service, port: &ServicePort) -> bool {
    if service.external || !cx.mesh().enable_auto_mtls {
        return false;
    }
    if builder.kind() == DiscoveryType::OriginalDst && !cx.all_in_mesh(service, port) {
        return false;
    }
    let namespace = cx.snapshot.rules.mtls(&service.namespace, &Labels::new());
    namespace.mode != MtlsMode::Disable
}

/// mTLS towards endpoints that are marked for it, plain text towards the others.
fn auto(builder: &mut Builder, socket: base::TransportSocket) {
    if builder.kind() == DiscoveryType::OriginalDst {
        builder.cluster.transport_socket = Some(socket);
        return;
    }
    builder.cluster.transport_socket_matches = vec![
        TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(structure([("tlsMode", string_value("istio"))])),
            transport_socket: Some(socket),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(structure::<String>([])),
            transport_socket: Some(raw_socket()),
        },
    ];
}
