//! TLS contexts of clients and servers.
//!
//! The mesh's own certificate and roots ([`names::WORKLOAD_SECRET`], [`names::ROOT_SECRET`]) come
//! from the proxy's agent (Envoy: cluster `sds-grpc`); gateway credentials come over ADS.

use mesh_config::tls::{
    ClientCertificate, ClientTls, OriginatedTls, ServerCredential, ServerVerification,
    TerminatedTls, TerminationMode, TlsVersion,
};

use super::{names, wire::*};

/// ALPN values by which mesh clients mark HTTP.
pub(crate) const MESH_HTTP_ALPN: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// ALPN values by which mesh clients mark bytes.
pub(crate) const MESH_TCP_ALPN: [&str; 2] = ["istio-peer-exchange", "istio"];
/// Cipher suites of mesh servers up to TLS 1.2 (TLS 1.3 has its own).
const MESH_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];
/// What a gateway credential's name starts with on the wire.
const CREDENTIAL: &str = "kubernetes://";
/// What the name of the client CA of a credential ends in.
pub(crate) const CA_SUFFIX: &str = "-cacert";

/// What mesh clients speak on a connection, as the server learns it from ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MeshAlpn {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 and gRPC.
    Http2,
    /// Bytes, or not declared.
    Tcp,
}

impl MeshAlpn {
    fn values(self) -> Vec<String> {
        let value = match self {
            Self::Http1 => "istio-http/1.1",
            Self::Http2 => "istio-h2",
            Self::Tcp => "istio",
        };
        vec![value.to_owned()]
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// A secret from the proxy's own agent.
fn agent_secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(base::ConfigSource {
            initial_fetch_timeout: duration(std::time::Duration::ZERO),
            resource_api_version: base::ApiVersion::V3.into(),
            config_source_specifier: Some(
                base::config_source::ConfigSourceSpecifier::ApiConfigSource(
                    base::ApiConfigSource {
                        api_type: base::api_config_source::ApiType::Grpc.into(),
                        transport_api_version: base::ApiVersion::V3.into(),
                        set_node_on_first_message_only: true,
                        grpc_services: vec![base::GrpcService {
                            target_specifier: Some(base::grpc_service::TargetSpecifier::EnvoyGrpc(
                                base::grpc_service::EnvoyGrpc {
                                    cluster_name: "sds-grpc".to_owned(),
                                    ..base::grpc_service::EnvoyGrpc::default()
                                },
                            )),
                            ..base::GrpcService::default()
                        }],
                        ..base::ApiConfigSource::default()
                    },
                ),
            ),
            ..base::ConfigSource::default()
        }),
    }
}

/// A gateway credential, over ADS. Without the initial timeout of zero: one missing secret must not
/// hold up the listeners of the others.
fn credential(name: &str) -> tls::SdsSecretConfig {
    let name = if name.contains("://") {
        name.to_owned()
    } else {
        format!("{CREDENTIAL}{name}")
    };
    tls::SdsSecretConfig {
        name,
        sds_config: Some(base::ConfigSource {
            initial_fetch_timeout: None,
            ..ads()
        }),
    }
}

fn file(name: &str) -> base::DataSource {
    base::DataSource {
        specifier: Some(base::data_source::Specifier::Filename(name.to_owned())),
        watched_directory: None,
    }
}

/// Matches certificates that bear one of these names; URIs are told by their scheme.
fn subject_alt_names(names: &[String]) -> Vec<tls::SubjectAltNameMatcher> {
    use tls::subject_alt_name_matcher::SanType;
    names
        .iter()
        .map(|name| tls::SubjectAltNameMatcher {
            san_type: if name.contains("://") {
                SanType::Uri
            } else {
                SanType::Dns
            }
            .into(),
            matcher: Some(string_matcher(
                matcher::string_matcher::MatchPattern::Exact(name.clone()),
            )),
            ..tls::SubjectAltNameMatcher::default()
        })
        .collect()
}

fn combined(
    names: Vec<tls::SubjectAltNameMatcher>,
    roots: tls::SdsSecretConfig,
) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: names,
            ..tls::CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(roots),
        ..CombinedCertificateValidationContext::default()
    })
}

fn versions(min: i32, max: i32) -> tls::TlsParameters {
    tls::TlsParameters {
        tls_minimum_protocol_version: min,
        tls_maximum_protocol_version: max,
        ..tls::TlsParameters::default()
    }
}

fn version(version: Option<TlsVersion>, default: TlsVersion) -> i32 {
    use tls::tls_parameters::TlsProtocol;
    match version.unwrap_or(default) {
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
    .into()
}

fn client_parameters() -> Option<tls::TlsParameters> {
    Some(versions(
        version(None, TlsVersion::V1_2),
        version(None, TlsVersion::V1_3),
    ))
}

/// Mesh mTLS towards servers with one of `identities` (empty: any identity of the mesh).
pub(crate) fn mesh_client(
    identities: &[String],
    sni: String,
    alpn: MeshAlpn,
) -> tls::UpstreamTlsContext {
    tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: client_parameters(),
            tls_certificate_sds_secret_configs: vec![agent_secret(names::WORKLOAD_SECRET)],
            alpn_protocols: alpn.values(),
            validation_context_type: Some(combined(
                subject_alt_names(identities),
                agent_secret(names::ROOT_SECRET),
            )),
            ..tls::CommonTlsContext::default()
        }),
        sni,
        ..tls::UpstreamTlsContext::default()
    }
}

/// TLS that the user configured towards a service outside the mesh; `None` for plain text and mesh
/// mTLS.
///
/// `default_names`: accepted names if the user gives none. `http2`: the upstream speaks HTTP/2.
pub(crate) fn user_client(
    settings: &ClientTls,
    default_names: &[String],
    http2: bool,
) -> Option<tls::UpstreamTlsContext> {
    let (tls, certificate) = match settings {
        ClientTls::Simple(tls) => (tls, None),
        ClientTls::Mutual { certificate, tls } => (tls, Some(certificate)),
        ClientTls::Disable | ClientTls::IstioMutual { .. } => return None,
    };
    let mut common = tls::CommonTlsContext {
        tls_params: client_parameters(),
        validation_context_type: validation(tls, default_names),
        alpn_protocols: if http2 { strings(&["h2"]) } else { Vec::new() },
        ..tls::CommonTlsContext::default()
    };
    match certificate {
        None => {}
        Some(ClientCertificate::Credential(name)) => {
            common.tls_certificate_sds_secret_configs = vec![credential(name)];
        }
        Some(ClientCertificate::Files {
            certificate,
            private_key,
        }) => {
            common.tls_certificates = vec![tls::TlsCertificate {
                certificate_chain: Some(file(certificate)),
                private_key: Some(file(private_key)),
                ..tls::TlsCertificate::default()
            }];
        }
    }
    Some(tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: tls.sni.clone().unwrap_or_default(),
        ..tls::UpstreamTlsContext::default()
    })
}

fn validation(
    settings: &OriginatedTls,
    default_names: &[String],
) -> Option<tls::common_tls_context::ValidationContextType> {
    use tls::common_tls_context::ValidationContextType::ValidationContext;
    let names = if settings.subject_alt_names.is_empty() {
        default_names
    } else {
        &settings.subject_alt_names
    };
    let context = tls::CertificateValidationContext {
        match_typed_subject_alt_names: subject_alt_names(names),
        ..tls::CertificateValidationContext::default()
    };
    match &settings.verification {
        ServerVerification::Skip => None,
        ServerVerification::SystemRoots => {
            Some(ValidationContext(tls::CertificateValidationContext {
                system_root_certs: Some(
                    tls::certificate_validation_context::SystemRootCerts::default(),
                ),
                ..context
            }))
        }
        ServerVerification::CaFile(path) => {
            Some(ValidationContext(tls::CertificateValidationContext {
                trusted_ca: Some(file(path)),
                ..context
            }))
        }
        ServerVerification::Credential(name) => Some(combined(
            context.match_typed_subject_alt_names,
            credential(&format!("{name}{CA_SUFFIX}")),
        )),
    }
}

/// Mesh mTLS of a server: a certificate of the mesh is asked of the client.
///
/// `http`: the chain speaks HTTP, else bytes. Values that only mark mesh traffic (`istio-h2`) are
/// matched by filter chains and deliberately not offered: the codec is chosen by `h2`.
pub(crate) fn mesh_server(http: bool) -> tls::DownstreamTlsContext {
    let alpn = if http {
        strings(&["h2", "http/1.1"])
    } else {
        strings(&["istio-peer-exchange", "h2", "http/1.1"])
    };
    tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                cipher_suites: strings(&MESH_CIPHERS),
                ..versions(
                    version(None, TlsVersion::V1_2),
                    version(None, TlsVersion::V1_3),
                )
            }),
            tls_certificate_sds_secret_configs: vec![agent_secret(names::WORKLOAD_SECRET)],
            alpn_protocols: alpn,
            validation_context_type: Some(combined(Vec::new(), agent_secret(names::ROOT_SECRET))),
            ..tls::CommonTlsContext::default()
        }),
        require_client_certificate: boolean(true),
        ..tls::DownstreamTlsContext::default()
    }
}

/// TLS that a Gateway's server terminates.
pub(crate) fn gateway_server(settings: &TerminatedTls) -> tls::DownstreamTlsContext {
    if settings.mode == TerminationMode::IstioMutual {
        return mesh_server(true);
    }
    let mut common = tls::CommonTlsContext {
        alpn_protocols: strings(&["h2", "http/1.1"]),
        ..tls::CommonTlsContext::default()
    };
    let explicit = settings.min_version.is_some()
        || settings.max_version.is_some()
        || !settings.cipher_suites.is_empty();
    if explicit {
        common.tls_params = Some(tls::TlsParameters {
            cipher_suites: settings.cipher_suites.clone(),
            ..versions(
                version(settings.min_version, TlsVersion::V1_2),
                version(settings.max_version, TlsVersion::V1_3),
            )
        });
    }
    let mut require = false;
    match &settings.mode {
        TerminationMode::Simple(own) => server_certificate(&mut common, own),
        TerminationMode::Mutual {
            credential: own,
            client,
            optional,
        } => {
            server_certificate(&mut common, own);
            require = !optional;
            common.validation_context_type = Some(client_validation(own, client));
        }
        TerminationMode::IstioMutual => unreachable!("handled above"),
    }
    tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: boolean(require),
        ..tls::DownstreamTlsContext::default()
    }
}

fn server_certificate(common: &mut tls::CommonTlsContext, own: &ServerCredential) {
    match own {
        ServerCredential::Secrets(names) => {
            common.tls_certificate_sds_secret_configs =
                names.iter().map(|name| credential(name)).collect();
        }
        ServerCredential::Files {
            certificate,
            private_key,
        } => {
            common.tls_certificates = vec![tls::TlsCertificate {
                certificate_chain: Some(file(certificate)),
                private_key: Some(file(private_key)),
                ..tls::TlsCertificate::default()
            }];
        }
    }
}

fn client_validation(
    own: &ServerCredential,
    client: &mesh_config::tls::ClientVerification,
) -> tls::common_tls_context::ValidationContextType {
    let names = subject_alt_names(&client.subject_alt_names);
    match (own, &client.ca_file) {
        (_, Some(path)) => tls::common_tls_context::ValidationContextType::ValidationContext(
            tls::CertificateValidationContext {
                trusted_ca: Some(file(path)),
                match_typed_subject_alt_names: names,
                ..tls::CertificateValidationContext::default()
            },
        ),
        (ServerCredential::Secrets(secrets), None) => {
            let first = secrets.first().map(String::as_str).unwrap_or_default();
            combined(names, credential(&format!("{first}{CA_SUFFIX}")))
        }
        (ServerCredential::Files { .. }, None) => combined(names, agent_secret(names::ROOT_SECRET)),
    }
}

/// Wraps a client's context as a transport socket.
pub(crate) fn upstream_socket(context: &tls::UpstreamTlsContext) -> base::TransportSocket {
    transport_socket(names::TLS_SOCKET, context)
}

/// Wraps a server's context as a transport socket.
pub(crate) fn downstream_socket(context: &tls::DownstreamTlsContext) -> base::TransportSocket {
    transport_socket(names::TLS_SOCKET, context)
}

/// No TLS.
pub(crate) fn raw_socket() -> base::TransportSocket {
    transport_socket(
        names::RAW_SOCKET,
        &mesh_xds::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer::default(),
    )
}
