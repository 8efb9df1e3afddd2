//! Envoy's static configuration: what Istio would give a sidecar for the same pair, as far as stock Envoy
//! has the filters. docs/benchmarks.md lists every difference.

use serde_json::{Value, json};

use super::manifests::Mass;
use super::pki::{Pair, Pki};
use super::{Setup, mesh, service_account};
use crate::place::{HOST, LANES, Lane, Protocol};

/// Istio's access log format.
const LOG_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// The client's proxy.
pub(super) fn client(setup: &Setup, pki: &Pki) -> Value {
    let mut listeners: Vec<Value> = LANES
        .iter()
        .map(|lane| outbound_listener(setup, *lane))
        .collect();
    let mut clusters: Vec<Value> = LANES
        .iter()
        .map(|lane| outbound_cluster(setup, pki, *lane))
        .collect();
    if setup.services > 0 {
        let mass = Mass {
            services: setup.services,
            endpoints: mesh::ENDPOINTS,
            port: setup.ports.mass(),
        };
        listeners.push(mass_listener(mass));
        clusters.extend((0..mass.services).map(|number| mass_cluster(setup, mass, number, pki)));
    }
    bootstrap("client", &listeners, &clusters)
}

/// The server's proxy.
pub(super) fn server(setup: &Setup, pki: &Pki) -> Value {
    let listeners: Vec<Value> = LANES
        .iter()
        .map(|lane| inbound_listener(setup, pki, *lane))
        .collect();
    let clusters: Vec<Value> = LANES
        .iter()
        .map(|lane| inbound_cluster(setup, *lane))
        .collect();
    bootstrap("server", &listeners, &clusters)
}

fn bootstrap(name: &str, listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "node": {"id": format!("sidecar~{name}"), "cluster": format!("{name}.bench")},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        // Istio's: no statistics per cluster or listener, which would cost memory.
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [
            {"prefix": "cluster_manager"}, {"prefix": "listener_manager"}, {"prefix": "server"},
            {"prefix": "cluster.xds-grpc"}, {"suffix": "rbac.allowed"}, {"suffix": "rbac.denied"},
        ]}}},
    })
}

fn address(at: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn extension(name: &str, kind: &str, fields: &Value) -> Value {
    let mut config = json!({"@type": format!("{EXTENSIONS}.{kind}")});
    if let (Some(config), Some(fields)) = (config.as_object_mut(), fields.as_object()) {
        config.extend(fields.clone());
    }
    json!({"name": name, "typed_config": config})
}

fn access_log() -> Value {
    json!([extension(
        "envoy.access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        &json!({
            "path": "/dev/stdout",
            "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
        }),
    )])
}

fn filter(name: &str, kind: &str) -> Value {
    extension(
        &format!("envoy.filters.http.{name}"),
        &format!("filters.http.{name}.v3.{kind}"),
        &json!({}),
    )
}

fn http_manager(name: &str, filters: &[Value], virtual_hosts: &[Value], of_server: bool) -> Value {
    let mut fields = json!({
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": virtual_hosts, "validate_clusters": false},
        "http_filters": filters,
        "access_log": access_log(),
        "normalize_path": true,
        "use_remote_address": false,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
    });
    if of_server {
        fields["forward_client_cert_details"] = json!("APPEND_FORWARD");
        fields["set_current_client_cert_details"] =
            json!({"subject": true, "dns": true, "uri": true});
    }
    extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        &fields,
    )
}

fn tcp_proxy(cluster: &str) -> Value {
    extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        &json!({"stat_prefix": cluster, "cluster": cluster, "access_log": access_log()}),
    )
}

fn to(cluster: &str, retries: &Value) -> Value {
    json!([{"name": "default", "match": {"prefix": "/"}, "route": {
        "cluster": cluster, "timeout": "0s", "retry_policy": retries,
    }}])
}

fn outbound_listener(setup: &Setup, lane: Lane) -> Value {
    let name = format!("outbound-{}", lane.name);
    let last = if lane.protocol == Protocol::Tcp {
        tcp_proxy(&name)
    } else {
        let retries = json!({
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "num_retries": 2, "retriable_status_codes": [503],
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [extension(
                "envoy.retry_host_predicates.previous_hosts",
                "retry.host.previous_hosts.v3.PreviousHostsPredicate",
                &json!({}),
            )],
        });
        let host = json!({
            "name": format!("{HOST}:{}", setup.ports.lane(lane)),
            "domains": [
                HOST, format!("{HOST}:*"), "server.bench.svc", "server.bench.svc.cluster.local", "10.96.77.1",
            ],
            "routes": to(&name, &retries),
        });
        let filters = [
            filter("fault", "HTTPFault"),
            filter("cors", "Cors"),
            filter("router", "Router"),
        ];
        http_manager(&name, &filters, &[host], false)
    };
    json!({
        "name": name,
        "address": address(setup.ports.client(lane)),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [last]}],
    })
}

/// The certificates of a side and whom it expects.
fn tls(pki: &Pki, own: &Pair, peer: &str, alpn: &[&str]) -> Value {
    let file = |path: &std::path::Path| json!({"filename": path.display().to_string()});
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": alpn,
        "tls_certificates": [{"certificate_chain": file(&own.chain), "private_key": file(&own.key)}],
        "validation_context": {
            "trusted_ca": file(&pki.root),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": if peer.is_empty() {
                json!({"prefix": "spiffe://cluster.local/"})
            } else {
                json!({"exact": service_account(peer)})
            }}],
        },
    })
}

/// What a client offers, as Istio's ALPN filter would have it. The server chooses its chain by the first.
fn alpn(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Http1 => &["istio-http/1.1", "istio", "http/1.1"],
        Protocol::Http2 | Protocol::Grpc => &["istio-h2", "istio", "h2"],
        Protocol::Tcp => &["istio"],
    }
}

/// What a server takes; Envoy's codec knows only the plain names.
fn accepted(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Tcp => &["istio"],
        _ => &["h2", "http/1.1"],
    }
}

fn upstream_tls(setup: &Setup, pki: &Pki, lane: Lane) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        &json!({
            "common_tls_context": tls(pki, &pki.client, "server", alpn(lane.protocol)),
            "sni": "outbound_.80_._.server.bench.svc.cluster.local",
            "max_session_keys": u32::from(setup.peers_resume),
        }),
    )
}

fn limits() -> Value {
    // Istio's: no limit.
    let all = u32::MAX;
    json!({"thresholds": [{
        "max_connections": all, "max_pending_requests": all, "max_requests": all, "max_retries": all,
    }]})
}

fn protocol_options(lane: Lane) -> Value {
    let mut options = match lane.protocol {
        Protocol::Http1 | Protocol::Tcp => {
            json!({"explicit_http_config": {"http_protocol_options": {}}})
        }
        Protocol::Http2 | Protocol::Grpc => {
            json!({"explicit_http_config": {"http2_protocol_options": {}}})
        }
    };
    options["@type"] = json!(format!(
        "{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"
    ));
    if lane.once {
        options["common_http_protocol_options"] = json!({"max_requests_per_connection": 1});
    }
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options})
}

fn cluster(name: &str, endpoints: &[Value]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|at| json!({"endpoint": {"address": at}}))
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": limits(),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

fn outbound_cluster(setup: &Setup, pki: &Pki, lane: Lane) -> Value {
    let name = format!("outbound-{}", lane.name);
    let mut cluster = cluster(&name, &[address(setup.ports.server(lane))]);
    if lane.protocol != Protocol::Tcp {
        cluster["typed_extension_protocol_options"] = protocol_options(lane);
    }
    if lane.mtls {
        cluster["transport_socket"] = upstream_tls(setup, pki, lane);
    }
    cluster
}

fn inbound_cluster(setup: &Setup, lane: Lane) -> Value {
    let name = format!("inbound-{}", lane.name);
    let mut cluster = cluster(&name, &[address(setup.ports.backend(lane.protocol))]);
    if lane.protocol != Protocol::Tcp {
        cluster["typed_extension_protocol_options"] = protocol_options(lane.kept());
    }
    cluster
}

/// The rules of the AuthorizationPolicy.
fn rbac(setup: &Setup) -> Value {
    let ports = |mtls: bool| {
        let lanes = LANES.iter().filter(|lane| lane.mtls == mtls);
        let rules: Vec<Value> = lanes
            .map(|lane| json!({"destination_port": setup.ports.lane(*lane)}))
            .collect();
        json!([{"and_rules": {"rules": [{"or_rules": {"rules": rules}}]}}])
    };
    let client = json!({"authenticated": {"principal_name": {"exact": service_account("client")}}});
    let client = json!([{"and_ids": {"ids": [{"or_ids": {"ids": [client]}}]}}]);
    let anyone = json!([{"and_ids": {"ids": [{"any": true}]}}]);
    json!({"rules": {"action": "ALLOW", "policies": {
        "ns[bench]-policy[server]-rule[0]": {"permissions": ports(true), "principals": client},
        "ns[bench]-policy[server]-rule[1]": {"permissions": ports(false), "principals": anyone},
    }}})
}

fn inbound_listener(setup: &Setup, pki: &Pki, lane: Lane) -> Value {
    let name = format!("inbound-{}", lane.name);
    let mut rules = rbac(setup);
    let filters = if lane.protocol == Protocol::Tcp {
        rules["stat_prefix"] = json!("tcp.");
        let rbac = extension(
            "envoy.filters.network.rbac",
            "filters.network.rbac.v3.RBAC",
            &rules,
        );
        vec![rbac, tcp_proxy(&name)]
    } else {
        let rbac = extension(
            "envoy.filters.http.rbac",
            "filters.http.rbac.v3.RBAC",
            &rules,
        );
        let filters = [
            rbac,
            filter("fault", "HTTPFault"),
            filter("cors", "Cors"),
            filter("router", "Router"),
        ];
        let retries = json!({"retry_on": "reset-before-request", "num_retries": 2});
        let host = json!({"name": "inbound", "domains": ["*"], "routes": to(&name, &retries)});
        vec![http_manager(&name, &filters, &[host], true)]
    };
    let chain = if lane.mtls {
        json!({
            "filter_chain_match": {"transport_protocol": "tls", "application_protocols": alpn(lane.protocol)[..1]},
            "filters": filters,
            "transport_socket": downstream_tls(pki, lane),
        })
    } else {
        json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": filters})
    };
    json!({
        "name": name,
        "address": address(setup.ports.server(lane)),
        "traffic_direction": "INBOUND",
        "listener_filters": [extension(
            "envoy.filters.listener.tls_inspector",
            "filters.listener.tls_inspector.v3.TlsInspector",
            &json!({}),
        )],
        "filter_chains": [chain],
    })
}

fn downstream_tls(pki: &Pki, lane: Lane) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        &json!({
            "common_tls_context": tls(pki, &pki.server, "", accepted(lane.protocol)),
            "require_client_certificate": true,
        }),
    )
}

fn mass_listener(mass: Mass) -> Value {
    let hosts: Vec<Value> = (0..mass.services)
        .map(|number| {
            let host = Mass::host(number);
            let cluster = format!("outbound|{}||{host}", mass.port);
            let short = format!("service-{number}.mass");
            json!({
                "name": format!("{host}:{}", mass.port),
                "domains": [host, short, format!("{short}.svc")],
                "routes": to(&cluster, &json!({"retry_on": "connect-failure", "num_retries": 2})),
            })
        })
        .collect();
    let filters = [
        filter("fault", "HTTPFault"),
        filter("cors", "Cors"),
        filter("router", "Router"),
    ];
    let at = (std::net::Ipv4Addr::LOCALHOST, mass.port).into();
    json!({
        "name": "mass",
        "address": address(at),
        "filter_chains": [{"filters": [http_manager("mass", &filters, &hosts, false)]}],
    })
}

fn mass_cluster(setup: &Setup, mass: Mass, number: usize, pki: &Pki) -> Value {
    let name = format!("outbound|{}||{}", mass.port, Mass::host(number));
    let endpoints: Vec<Value> = (0..mass.endpoints)
        .map(|endpoint| {
            let at = mass.address(number, endpoint);
            json!({"socket_address": {"address": at, "port_value": 8080}})
        })
        .collect();
    let mut cluster = cluster(&name, &endpoints);
    cluster["typed_extension_protocol_options"] = protocol_options(crate::place::HTTP1);
    cluster["transport_socket"] = upstream_tls(setup, pki, crate::place::HTTP1);
    cluster
}
