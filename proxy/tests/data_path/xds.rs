//! xDS resources as JSON, in the shapes that pilot sends.

use std::net::SocketAddr;

use serde_json::{Value, json};

pub(crate) const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn typed(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Deep-merges `extra` into `base`.
pub(crate) fn with(mut base: Value, extra: Value) -> Value {
    fn merge(base: &mut Value, extra: Value) {
        match (base, extra) {
            (Value::Object(base), Value::Object(extra)) => {
                for (key, value) in extra {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, extra) => *base = extra,
        }
    }
    merge(&mut base, extra);
    base
}

/// A static HTTP/1.1 cluster named `outbound|80||NAME.test`.
pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    let full = format!("outbound|80||{name}.test");
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|at| json!({"endpoint": {"address": address(*at)}}))
        .collect();
    json!({
        "@type": typed("envoy.config.cluster.v3.Cluster"),
        "name": full,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": full, "endpoints": [{"lb_endpoints": endpoints}]},
        "metadata": {"filter_metadata": {"istio": {"services": [
            {"host": format!("{name}.test"), "name": name, "namespace": "default"}
        ]}}},
    })
}

/// The same with HTTP/2 by prior knowledge.
pub(crate) fn http2_cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    with(
        cluster(name, endpoints),
        json!({"typed_extension_protocol_options": {HTTP_OPTIONS: {
            "@type": typed(HTTP_OPTIONS),
            "explicit_http_config": {"http2_protocol_options": {}},
        }}}),
    )
}

/// What the client speaks is spoken upstream.
pub(crate) fn downstream_cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    with(
        cluster(name, endpoints),
        json!({"typed_extension_protocol_options": {HTTP_OPTIONS: {
            "@type": typed(HTTP_OPTIONS),
            "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
        }}}),
    )
}

/// A cluster that goes to the original destination.
pub(crate) fn original_dst(name: &str) -> Value {
    json!({
        "@type": typed("envoy.config.cluster.v3.Cluster"),
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
    })
}

/// A route that forwards everything below `/` to `NAME.test`.
pub(crate) fn route_to(name: &str) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": format!("outbound|80||{name}.test"), "timeout": "0s"}})
}

/// A route configuration with one virtual host for everything.
pub(crate) fn routes(routes: &[Value]) -> Value {
    json!({"name": "80", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]})
}

/// The filter of an HTTP connection manager.
pub(crate) fn manager(routes: Value, extra: Value) -> Value {
    let base = json!({
        "@type": HCM,
        "stat_prefix": "http",
        "route_config": routes,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        "normalize_path": true,
        "stream_idle_timeout": "0s",
    });
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": with(base, extra)})
}

/// An HTTP filter before the router.
pub(crate) fn filtered(filters: &[Value]) -> Value {
    let mut all = filters.to_vec();
    all.push(json!({"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}));
    json!({"http_filters": all})
}

/// The listener for port 80 of captured outbound traffic.
pub(crate) fn outbound_listener(filter: Value) -> Value {
    json!({
        "@type": typed("envoy.config.listener.v3.Listener"),
        "name": "0.0.0.0_80",
        "address": address("0.0.0.0:80".parse().unwrap()),
        "bind_to_port": false,
        "filter_chains": [{"filters": [filter]}],
    })
}

/// `virtualOutbound`, which passes everything else through.
pub(crate) fn virtual_outbound(cluster: &str) -> Value {
    json!({
        "@type": typed("envoy.config.listener.v3.Listener"),
        "name": "virtualOutbound",
        "address": address("127.0.0.1:15001".parse().unwrap()),
        "use_original_dst": true,
        "filter_chains": [{"filters": [tcp_proxy(cluster, json!({}))]}],
    })
}

/// The filter that copies bytes.
pub(crate) fn tcp_proxy(cluster: &str, extra: Value) -> Value {
    let base = json!({
        "@type": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "tcp",
        "cluster": cluster,
    });
    json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": with(base, extra)})
}

/// Server side of mesh mTLS.
pub(crate) fn mesh_server_tls(alpn: &[&str]) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": common_tls(alpn, &[]),
    }})
}

/// Client side of mesh mTLS, expecting one of `ids`.
pub(crate) fn mesh_client_tls(alpn: &str, ids: &[&str]) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": "outbound_.80_._.a.test",
        "common_tls_context": common_tls(&[alpn], ids),
    }})
}

fn common_tls(alpn: &[&str], ids: &[&str]) -> Value {
    let sds =
        |name: &str| json!({"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    let ids: Vec<Value> = ids
        .iter()
        .map(|id| json!({"san_type": "URI", "matcher": {"exact": id}}))
        .collect();
    json!({
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [sds("default")],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": ids},
            "validation_context_sds_secret_config": sds("ROOTCA"),
        },
    })
}

/// `virtualInbound` for one application port. `plaintext`: PERMISSIVE, else STRICT.
pub(crate) fn virtual_inbound(port: u16, http: Value, plaintext: bool) -> Value {
    let tcp = tcp_proxy(&format!("inbound|{port}||"), json!({}));
    let tls = |protocols: &[&str], alpn: &[&str], filter: &Value| {
        json!({
            "filter_chain_match": {
                "destination_port": port,
                "transport_protocol": "tls",
                "application_protocols": protocols,
            },
            "transport_socket": mesh_server_tls(alpn),
            "filters": [filter],
        })
    };
    let mut chains = vec![
        tls(
            &["istio-http/1.0", "istio-http/1.1", "istio-h2"],
            &["h2", "http/1.1"],
            &http,
        ),
        tls(
            &["istio", "istio-peer-exchange"],
            &["istio-peer-exchange", "h2", "http/1.1"],
            &tcp,
        ),
    ];
    if plaintext {
        chains.push(json!({
            "filter_chain_match": {
                "destination_port": port,
                "transport_protocol": "raw_buffer",
                "application_protocols": ["http/1.1", "h2c"],
            },
            "filters": [http],
        }));
        chains.push(json!({
            "filter_chain_match": {"destination_port": port, "transport_protocol": "raw_buffer"},
            "filters": [tcp],
        }));
    }
    json!({
        "@type": typed("envoy.config.listener.v3.Listener"),
        "name": "virtualInbound",
        "address": address("127.0.0.1:15006".parse().unwrap()),
        "listener_filters": [
            {"name": "envoy.filters.listener.original_dst", "typed_config": {
                "@type": typed("envoy.extensions.filters.listener.original_dst.v3.OriginalDst")}},
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": {
                "@type": typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")}},
            {"name": "envoy.filters.listener.http_inspector", "typed_config": {
                "@type": typed("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector")}},
        ],
        "listener_filters_timeout": "0s",
        "continue_on_listener_filters_timeout": true,
        "filter_chains": chains,
    })
}

/// The cluster of an application port.
pub(crate) fn inbound_cluster(port: u16) -> Value {
    with(
        original_dst(&format!("inbound|{port}||")),
        json!({"typed_extension_protocol_options": {HTTP_OPTIONS: {
            "@type": typed(HTTP_OPTIONS),
            "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
        }}}),
    )
}

/// Routes of an application port.
pub(crate) fn inbound_routes(port: u16) -> Value {
    let name = format!("inbound|{port}||");
    json!({"name": name, "virtual_hosts": [{"name": "inbound|http|80", "domains": ["*"], "routes": [
        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}
    ]}]})
}
