//! Transport sockets and secrets.

use std::sync::Arc;

use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::extensions::transport_sockets::tls::v3 as tls;

use crate::compile::{
    Unset, disregard, flag, known, matchers, name, nothing_left, some_name, take, type_name, unpack,
};
use crate::error::{At, Refused};
use crate::strings::StringMatcher;
use crate::tls::{
    DownstreamTls, Material, NameKind, NameMatcher, PeerValidation, Secret, Source, TlsCommon,
    TlsVersion, UpstreamTls, UpstreamTransport,
};

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// How a cluster's bytes travel.
pub(crate) fn upstream(
    socket: Option<core::TransportSocket>,
) -> Result<UpstreamTransport, Refused> {
    let Some(socket) = socket else {
        return Ok(UpstreamTransport::Raw);
    };
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) = socket.config_type else {
        return if socket.name == "envoy.transport_sockets.raw_buffer" {
            Ok(UpstreamTransport::Raw)
        } else {
            Err(Refused::missing("typed_config"))
        };
    };
    match type_name(&any) {
        RAW => Ok(UpstreamTransport::Raw),
        UPSTREAM => Ok(UpstreamTransport::Tls(Arc::new(upstream_tls(unpack(
            &any,
        )?)?))),
        unknown => Err(Refused::new(format!(
            "transport socket {unknown} is not supported by this proxy"
        ))),
    }
}

/// TLS of a filter chain.
pub(crate) fn downstream(
    socket: Option<core::TransportSocket>,
) -> Result<Option<DownstreamTls>, Refused> {
    let Some(socket) = socket else {
        return Ok(None);
    };
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) = socket.config_type else {
        return Err(Refused::missing("typed_config"));
    };
    match type_name(&any) {
        RAW => Ok(None),
        DOWNSTREAM => downstream_tls(unpack(&any)?).map(Some),
        unknown => Err(Refused::new(format!(
            "transport socket {unknown} is not supported by this proxy"
        ))),
    }
}

fn upstream_tls(mut context: tls::UpstreamTlsContext) -> Result<UpstreamTls, Refused> {
    // Sessions are scoped by us; RSA key usage is always enforced by our TLS library.
    disregard!(context: max_session_keys, enforce_rsa_key_usage);
    let compiled = UpstreamTls {
        common: common(take(&mut context.common_tls_context).unwrap_or_default())
            .at(|| "common_tls_context".to_owned())?,
        sni: some_name(&take(&mut context.sni)),
        auto_host_sni: take(&mut context.auto_host_sni),
        auto_san_validation: take(&mut context.auto_sni_san_validation),
    };
    nothing_left(&context)?;
    Ok(compiled)
}

fn downstream_tls(mut context: tls::DownstreamTlsContext) -> Result<DownstreamTls, Refused> {
    // Resumption and cipher preference are fixed in our TLS layer, in the strict direction.
    disregard!(context: disable_stateful_session_resumption, session_timeout, full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers);
    match take(&mut context.session_ticket_keys_type) {
        None
        | Some(
            tls::downstream_tls_context::SessionTicketKeysType::DisableStatelessSessionResumption(
                _,
            ),
        ) => {}
        Some(_) => return Err(Refused::unsupported("session_ticket_keys")),
    }
    let compiled = DownstreamTls {
        common: common(take(&mut context.common_tls_context).unwrap_or_default())
            .at(|| "common_tls_context".to_owned())?,
        require_client_certificate: flag(
            take(&mut context.require_client_certificate),
            Unset::False,
        ),
    };
    if flag(take(&mut context.require_sni), Unset::False) {
        return Err(Refused::unsupported("require_sni"));
    }
    nothing_left(&context)?;
    if compiled.require_client_certificate && compiled.common.peer.roots.is_none() {
        return Err(Refused::field(
            "common_tls_context.validation_context",
            "is required where client certificates are",
        ));
    }
    Ok(compiled)
}

fn common(mut context: tls::CommonTlsContext) -> Result<TlsCommon, Refused> {
    let (min_version, max_version) =
        versions(take(&mut context.tls_params)).at(|| "tls_params".to_owned())?;
    let mut certificates = Vec::new();
    for (at, one) in take(&mut context.tls_certificates).into_iter().enumerate() {
        let secret = certificate(one).at(|| format!("tls_certificates[{at}]"))?;
        certificates.push(Source::Inline(Arc::new(secret)));
    }
    for (at, one) in take(&mut context.tls_certificate_sds_secret_configs)
        .into_iter()
        .enumerate()
    {
        certificates
            .push(by_name(&one).at(|| format!("tls_certificate_sds_secret_configs[{at}]"))?);
    }
    let peer = match take(&mut context.validation_context_type) {
        Some(kind) => validation(kind)?,
        None => PeerValidation::default(),
    };
    let alpn = take(&mut context.alpn_protocols)
        .iter()
        .map(|protocol| name(protocol))
        .collect();
    nothing_left(&context)?;
    certificates.shrink_to_fit();
    Ok(TlsCommon {
        certificates,
        peer,
        alpn,
        min_version,
        max_version,
    })
}

fn by_name(config: &tls::SdsSecretConfig) -> Result<Source, Refused> {
    // Every secret comes over ADS, or is the proxy's own: the source itself says nothing.
    some_name(&config.name)
        .map(Source::Secret)
        .ok_or_else(|| Refused::missing("name"))
}

fn versions(params: Option<tls::TlsParameters>) -> Result<(TlsVersion, TlsVersion), Refused> {
    use tls::tls_parameters::TlsProtocol as Protocol;
    let mut params = params.unwrap_or_default();
    // Ours is a fixed modern set, TLS 1.2 ECDHE with AEAD and TLS 1.3: at least as strict as any list.
    disregard!(params: cipher_suites, ecdh_curves, signature_algorithms);
    let min = match known(
        take(&mut params.tls_minimum_protocol_version),
        "tls_minimum_protocol_version",
    )? {
        Protocol::TlSv13 => TlsVersion::V1_3,
        _ => TlsVersion::V1_2,
    };
    let max = match known(
        take(&mut params.tls_maximum_protocol_version),
        "tls_maximum_protocol_version",
    )? {
        Protocol::TlsAuto | Protocol::TlSv13 => TlsVersion::V1_3,
        Protocol::TlSv12 => TlsVersion::V1_2,
        _ => {
            return Err(Refused::field(
                "tls_maximum_protocol_version",
                "TLS before 1.2 is not supported",
            ));
        }
    };
    nothing_left(&params)?;
    if max < min {
        return Err(Refused::field(
            "tls_maximum_protocol_version",
            "is below the minimum",
        ));
    }
    Ok((min, max))
}

fn validation(
    kind: tls::common_tls_context::ValidationContextType,
) -> Result<PeerValidation, Refused> {
    use tls::common_tls_context::ValidationContextType as Kind;
    match kind {
        Kind::ValidationContext(context) => peer(context).at(|| "validation_context".to_owned()),
        Kind::ValidationContextSdsSecretConfig(config) => Ok(PeerValidation {
            roots: Some(by_name(&config).at(|| "validation_context_sds_secret_config".to_owned())?),
            ..PeerValidation::default()
        }),
        Kind::CombinedValidationContext(combined) => {
            let mut compiled = peer(combined.default_validation_context.unwrap_or_default())
                .at(|| "combined_validation_context.default_validation_context".to_owned())?;
            if let Some(config) = combined.validation_context_sds_secret_config {
                compiled.roots =
                    Some(by_name(&config).at(|| "combined_validation_context".to_owned())?);
            }
            Ok(compiled)
        }
        Kind::ValidationContextCertificateProvider(_) => Err(Refused::unsupported(
            "validation_context_certificate_provider",
        )),
        Kind::ValidationContextCertificateProviderInstance(_) => Err(Refused::unsupported(
            "validation_context_certificate_provider_instance",
        )),
    }
}

fn peer(mut context: tls::CertificateValidationContext) -> Result<PeerValidation, Refused> {
    let mut names = Vec::new();
    for (at, one) in take(&mut context.match_typed_subject_alt_names)
        .into_iter()
        .enumerate()
    {
        names.push(typed_name(one).at(|| format!("match_typed_subject_alt_names[{at}]"))?);
    }
    let untyped = matchers::strings(
        take(&mut context.match_subject_alt_names),
        "match_subject_alt_names",
    )?;
    names.extend(
        untyped
            .into_iter()
            .map(|matcher| named(NameKind::Any, matcher)),
    );
    let certificate_hashes = take(&mut context.verify_certificate_hash)
        .iter()
        .map(|hash| name(&hash.replace(':', "").to_ascii_lowercase()))
        .collect();
    names.shrink_to_fit();
    let roots = roots(&mut context)?;
    nothing_left(&context)?;
    Ok(PeerValidation {
        roots: roots.map(|secret| Source::Inline(Arc::new(secret))),
        names,
        certificate_hashes,
    })
}

fn named(kind: NameKind, matcher: StringMatcher) -> NameMatcher {
    NameMatcher { kind, matcher }
}

fn typed_name(mut san: tls::SubjectAltNameMatcher) -> Result<NameMatcher, Refused> {
    use tls::subject_alt_name_matcher::SanType;
    let kind = match known(take(&mut san.san_type), "san_type")? {
        SanType::Uri => NameKind::Uri,
        SanType::Dns => NameKind::Dns,
        other => {
            return Err(Refused::field(
                "san_type",
                format!("{other:?} is not supported by this proxy"),
            ));
        }
    };
    let matcher = take(&mut san.matcher).ok_or_else(|| Refused::missing("matcher"))?;
    nothing_left(&san)?;
    Ok(named(
        kind,
        matchers::string(matcher).at(|| "matcher".to_owned())?,
    ))
}

/// The roots of a validation context, taken out of it.
fn roots(context: &mut tls::CertificateValidationContext) -> Result<Option<Secret>, Refused> {
    // Files are watched one by one. Clients are never sent the list of authorities.
    disregard!(context: watched_directory, suppress_client_ca_list, only_verify_leaf_cert_crl);
    let revoked = take(&mut context.crl)
        .map(material)
        .transpose()
        .at(|| "crl".to_owned())?;
    let bundle = take(&mut context.trusted_ca)
        .map(material)
        .transpose()
        .at(|| "trusted_ca".to_owned())?;
    let system = take(&mut context.system_root_certs).is_some();
    Ok(match (bundle, system) {
        (None, true) => Some(Secret::SystemRoots),
        (None, false) if revoked.is_none() => None,
        (bundle, _) => Some(Secret::Roots { bundle, revoked }),
    })
}

fn certificate(mut certificate: tls::TlsCertificate) -> Result<Secret, Refused> {
    // Files are watched one by one; no stapling and no certificate transparency here.
    disregard!(certificate: watched_directory, ocsp_staple, signed_certificate_timestamp);
    let chain = take(&mut certificate.certificate_chain)
        .ok_or_else(|| Refused::missing("certificate_chain"))?;
    let key = take(&mut certificate.private_key).ok_or_else(|| Refused::missing("private_key"))?;
    nothing_left(&certificate)?;
    Ok(Secret::Certificate {
        chain: material(chain).at(|| "certificate_chain".to_owned())?,
        key: material(key).at(|| "private_key".to_owned())?,
    })
}

fn material(source: core::DataSource) -> Result<Material, Refused> {
    use core::data_source::Specifier;
    let pem = |bytes: bytes::Bytes| {
        let looks_right = bytes.windows(11).any(|window| window == b"-----BEGIN ");
        if looks_right {
            Ok(Material::Pem(bytes))
        } else {
            Err(Refused::new("is not PEM"))
        }
    };
    match source.specifier {
        Some(Specifier::InlineBytes(bytes)) => pem(bytes),
        Some(Specifier::InlineString(text)) => pem(text.into()),
        Some(Specifier::Filename(path)) => Ok(Material::File(path.into())),
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(Refused::unsupported("environment_variable"))
        }
        None => Err(Refused::missing("specifier")),
    }
}

/// An SDS resource.
pub(crate) fn secret(secret: tls::Secret) -> Result<Secret, Refused> {
    use tls::secret::Type;
    match secret.r#type {
        Some(Type::TlsCertificate(one)) => certificate(one).at(|| "tls_certificate".to_owned()),
        Some(Type::ValidationContext(mut context)) => {
            let roots = roots(&mut context).at(|| "validation_context".to_owned())?;
            nothing_left(&context).at(|| "validation_context".to_owned())?;
            roots.ok_or_else(|| Refused::missing("validation_context.trusted_ca"))
        }
        Some(Type::SessionTicketKeys(_)) => Err(Refused::unsupported("session_ticket_keys")),
        Some(Type::GenericSecret(_)) => Err(Refused::unsupported("generic_secret")),
        None => Err(Refused::missing("type")),
    }
}
