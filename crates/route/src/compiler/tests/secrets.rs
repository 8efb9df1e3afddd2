//! Which secrets are asked for.

use mesh_xds::any::pack;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::extensions::transport_sockets::tls::v3 as tls;
use mesh_xds::type_url;

use super::{http_listener, names, resource, route_config};
use crate::Compiler;

fn context() -> tls::DownstreamTlsContext {
    let secret = |name: &str| tls::SdsSecretConfig {
        name: name.to_owned(),
        ..Default::default()
    };
    tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![
                secret("default"),
                secret("kubernetes://cred"),
            ],
            validation_context_type: Some(
                tls::common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(
                    secret("ROOTCA"),
                ),
            ),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn secrets_of_others_are_wanted_but_not_the_proxys_own() {
    let mut compiler = Compiler::new();
    let mut config = http_listener("0.0.0.0_443", "0.0.0.0", 443, "r");
    config.filter_chains[0].transport_socket = Some(core::TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(
            &context(),
        ))),
    });
    compiler.apply(
        type_url::LISTENER,
        &[resource("0.0.0.0_443", pack(&config))],
        &[],
    );
    compiler.apply(
        type_url::ROUTE,
        &[resource("r", pack(&route_config("r", "c")))],
        &[],
    );
    assert_eq!(names(&compiler.missing().secrets), ["kubernetes://cred"]);
    assert!(compiler.snapshot().listener("0.0.0.0_443").is_none());
    let cred = ["kubernetes://cred".to_owned()];
    let without = compiler.apply(type_url::SECRET, &[], &cred).snapshot;
    assert!(
        without.listener("0.0.0.0_443").is_some(),
        "nothing to wait for"
    );
    assert!(compiler.missing().is_empty());
    let pem = |text: &'static str| {
        Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineBytes(text.into())),
            ..Default::default()
        })
    };
    let arrived = tls::Secret {
        name: "kubernetes://cred".to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: pem("-----BEGIN CERTIFICATE-----"),
            private_key: pem("-----BEGIN PRIVATE KEY-----"),
            ..Default::default()
        })),
    };
    let applied = compiler.apply(
        type_url::SECRET,
        &[resource("kubernetes://cred", pack(&arrived))],
        &[],
    );
    assert!(applied.snapshot.secret("kubernetes://cred").is_some());
    assert!(applied.snapshot.listener("0.0.0.0_443").is_some());
}
