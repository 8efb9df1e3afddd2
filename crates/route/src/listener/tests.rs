//! Filter chain choice and inspection.

use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::listener::v3 as listener;
use mesh_xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use mesh_xds::google::protobuf::UInt32Value;

use crate::listener::Listener;
use crate::view::ConnInfo;

fn chain(name: &str, matched: listener::FilterChainMatch) -> listener::FilterChain {
    let proxy = tcp::TcpProxy {
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(name.to_owned())),
        ..Default::default()
    };
    listener::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(matched),
        filters: vec![listener::Filter {
            name: "tcp".to_owned(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(
                mesh_xds::any::pack(&proxy),
            )),
        }],
        ..Default::default()
    }
}

fn matched(
    port: u32,
    transport: &str,
    protocols: &[&str],
    names: &[&str],
) -> listener::FilterChainMatch {
    let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
    listener::FilterChainMatch {
        destination_port: (port != 0).then_some(UInt32Value { value: port }),
        transport_protocol: transport.to_owned(),
        application_protocols: owned(protocols),
        server_names: owned(names),
        ..Default::default()
    }
}

fn config(chains: Vec<listener::FilterChain>) -> listener::Listener {
    listener::Listener {
        name: "virtualInbound".to_owned(),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: "0.0.0.0".to_owned(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(15006)),
                ..Default::default()
            })),
        }),
        filter_chains: chains,
        listener_filters: vec![listener::ListenerFilter {
            name: "envoy.filters.listener.http_inspector".to_owned(),
            ..Default::default()
        }],
        default_filter_chain: Some(chain("default", Default::default())),
        ..Default::default()
    }
}

fn compiled(chains: Vec<listener::FilterChain>) -> Listener {
    crate::compile::listener::listener(config(chains)).unwrap()
}

fn select(listener: &Listener, port: u16, tls: bool, alpn: &[&str], name: Option<&str>) -> String {
    let alpn: Vec<&[u8]> = alpn.iter().map(|protocol| protocol.as_bytes()).collect();
    let chosen = listener.select(&ConnInfo {
        destination: (std::net::Ipv4Addr::new(10, 0, 0, 2), port).into(),
        source: "10.0.0.1:5000".parse().unwrap(),
        server_name: name,
        tls,
        application_protocols: &alpn,
    });
    chosen.map_or("-".to_owned(), |chain| chain.name.to_string())
}

#[test]
fn inbound_chains_are_chosen_as_istio_means_them() {
    let mesh_http = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    let inbound = compiled(vec![
        chain("mtls-http", matched(9080, "tls", &mesh_http, &[])),
        chain(
            "mtls-tcp",
            matched(9080, "tls", &["istio-peer-exchange", "istio"], &[]),
        ),
        chain(
            "plain-http",
            matched(9080, "raw_buffer", &["http/1.1", "h2c"], &[]),
        ),
        chain("plain-tcp", matched(9080, "raw_buffer", &[], &[])),
        chain("app-tls", matched(9080, "tls", &[], &[])),
        chain("passthrough", matched(0, "raw_buffer", &[], &[])),
    ]);
    for (port, tls, alpn, want) in [
        (9080, true, &["istio-http/1.1"][..], "mtls-http"),
        (
            9080,
            true,
            &["istio-peer-exchange", "istio-http/1.1"],
            "mtls-tcp",
        ),
        (9080, true, &["h2"], "app-tls"),
        (9080, true, &[], "app-tls"),
        (9080, false, &["h2c"], "plain-http"),
        (9080, false, &[], "plain-tcp"),
        (7, false, &["http/1.1"], "passthrough"),
        (7, true, &[], "default"),
    ] {
        assert_eq!(
            select(&inbound, port, tls, alpn, None),
            want,
            "{port} {tls} {alpn:?}"
        );
    }
}

#[test]
fn server_names_by_exactness_then_length() {
    let gateway = compiled(vec![
        chain("wild", matched(0, "", &[], &["*.example.com"])),
        chain("longer", matched(0, "", &[], &["*.a.example.com"])),
        chain(
            "exact",
            matched(0, "", &[], &["x.a.example.com", "other.org"]),
        ),
    ]);
    for (name, want) in [
        (Some("x.a.example.com"), "exact"),
        (Some("Y.A.example.com"), "longer"),
        (Some("b.example.com"), "wild"),
        (Some("example.com"), "default"),
        (None, "default"),
    ] {
        assert_eq!(select(&gateway, 443, true, &[], name), want, "{name:?}");
    }
}

#[test]
fn inspection_only_where_a_chain_asks() {
    let listener = compiled(vec![
        chain("http", matched(80, "raw_buffer", &["http/1.1"], &[])),
        chain("plain", matched(3306, "", &[], &[])),
    ]);
    let at = |port: u16| listener.inspect((std::net::Ipv4Addr::LOCALHOST, port).into());
    assert!(at(80).tls && at(80).http);
    assert!(!at(3306).tls && !at(3306).http);
    assert_eq!(at(80).timeout, Some(std::time::Duration::from_secs(15)));
}

#[test]
fn equal_matches_and_unknown_filters_are_refused() {
    let refused = |config| {
        crate::compile::listener::listener(config)
            .unwrap_err()
            .to_string()
    };
    let twice = config(vec![
        chain("a", matched(1, "", &[], &[])),
        chain("b", matched(1, "", &[], &[])),
    ]);
    assert_eq!(
        refused(twice),
        "filter_chains[1]: matches the same as filter_chains[0]"
    );
    let mut unknown = chain("a", Default::default());
    unknown.filters[0].config_type = Some(listener::filter::ConfigType::TypedConfig(
        mesh_xds::google::protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
                .to_owned(),
            value: Default::default(),
        },
    ));
    assert_eq!(
        refused(config(vec![unknown])),
        "filter_chains[0].filters[0].typed_config: filter \"tcp\" of type \
         envoy.extensions.filters.network.echo.v3.Echo is not supported by this proxy"
    );
}

#[test]
fn explanation_tells_what_narrowed_the_choice() {
    let listener = compiled(vec![
        chain("a", matched(80, "", &[], &[])),
        chain("b", matched(81, "", &[], &[])),
    ]);
    let lines = listener
        .explain(&ConnInfo {
            destination: "10.0.0.2:81".parse().unwrap(),
            source: "10.0.0.1:5000".parse().unwrap(),
            server_name: None,
            tls: false,
            application_protocols: &[],
        })
        .lines;
    assert_eq!(
        lines[1..],
        ["by destination port: 1 \"b\"", "chain 1 \"b\""]
    );
}
