use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http1::echo;
use crate::http2::{self, grpc};
use crate::rig::{Authority, Rig, get, id_of, run, server};
use crate::xds::{
    cluster, filtered, inbound_cluster, inbound_routes, manager, mesh_client_tls,
    outbound_listener, route_to, routes, tcp_proxy, virtual_inbound, with,
};

/// A client's proxy, a server's proxy, an application.
pub(crate) struct Mesh {
    pub(crate) authority: Authority,
    pub(crate) client: Rig,
    pub(crate) server: Rig,
    /// Where the application's client connects.
    pub(crate) at: SocketAddr,
    /// Where strangers reach the server's proxy.
    pub(crate) inbound: SocketAddr,
}

impl Mesh {
    pub(crate) async fn new(app: SocketAddr, strict: bool, expected: &str, filters: Value) -> Self {
        let authority = Authority::new();
        let (client, server) = (Rig::new("productpage"), Rig::new("reviews"));
        client.certificate(authority.certificate(&id_of("productpage")));
        server.certificate(authority.certificate(&id_of("reviews")));
        let http = manager(inbound_routes(app.port()), filters);
        server.apply(&[
            inbound_cluster(app.port()),
            virtual_inbound(app.port(), http, !strict),
        ]);
        let inbound = server.inbound(app).await;
        client.apply(&[
            mesh_cluster(inbound, "istio-http/1.1", expected),
            outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
        ]);
        let at = client.outbound("10.96.0.1:80").await;
        Self {
            authority,
            client,
            server,
            at,
            inbound,
        }
    }

    pub(crate) async fn finish(self) {
        self.client.finish().await;
        self.server.finish().await;
    }
}

/// A cluster whose endpoint is in the mesh.
fn mesh_cluster(inbound: SocketAddr, alpn: &str, expected: &str) -> Value {
    let mut base = with(
        cluster("a", &[inbound]),
        json!({
            "transport_socket_matches": [
                {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": mesh_client_tls(alpn, &[&id_of(expected)])},
                {"name": "tlsMode-disabled", "match": {}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}},
            ],
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }},
        }),
    );
    base["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = json!({"filter_metadata": {
        "envoy.transport_socket_match": {"tlsMode": "istio"},
        "istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"},
    }});
    base
}

#[test]
fn both_sides_know_and_count_each_other() {
    run(async {
        let mesh = Mesh::new(echo().await, true, "reviews", json!({})).await;
        for _ in 0..3 {
            let answer = get(mesh.at, "/m", "").await;
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains("GET /m\n"),
                "{answer}"
            );
            assert!(
                !answer.to_lowercase().contains("x-envoy-peer-metadata"),
                "{answer}"
            );
        }
        let client = [
            "reporter=\"source\"",
            "destination_workload=\"reviews-v1\"",
            "destination_app=\"reviews\"",
            "destination_principal=\"spiffe://cluster.local/ns/default/sa/reviews\"",
            "source_principal=\"spiffe://cluster.local/ns/default/sa/productpage\"",
        ];
        let lines = mesh.client.lines("istio_requests_total", &client);
        assert!(
            matches!(lines.as_slice(), [line] if line.ends_with(" 3")),
            "{}",
            mesh.client.metrics()
        );
        let server = [
            "reporter=\"destination\"",
            "source_workload=\"productpage-v1\"",
            "source_app=\"productpage\"",
            "source_principal=\"spiffe://cluster.local/ns/default/sa/productpage\"",
            "connection_security_policy=\"mutual_tls\"",
            "destination_workload=\"reviews-v1\"",
        ];
        let lines = mesh.server.lines("istio_requests_total", &server);
        assert!(
            matches!(lines.as_slice(), [line] if line.ends_with(" 3")),
            "{}",
            mesh.server.metrics()
        );
        mesh.finish().await;
    });
}

#[test]
fn a_wrong_identity_is_refused_by_name() {
    run(async {
        let mesh = Mesh::new(echo().await, true, "ratings", json!({})).await;
        let answer = get(mesh.at, "/", "").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains("sa/reviews")
                && answer.contains("expected one of")
                && answer.contains("sa/ratings"),
            "{answer}"
        );
        assert_eq!(
            mesh.client
                .lines("istio_requests_total", &["response_flags=\"UF\""])
                .len(),
            1
        );
        mesh.finish().await;
    });
}

#[test]
fn a_pattern_of_names_is_asked_after_the_handshake() {
    run(async {
        let mesh = Mesh::new(echo().await, true, "reviews", json!({})).await;
        for (prefix, status) in [
            ("spiffe://cluster.local/ns/default/", "200"),
            ("spiffe://other/", "503"),
        ] {
            let mut cluster = mesh_cluster(mesh.inbound, "istio-http/1.1", "reviews");
            let tls =
                &mut cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"];
            tls["common_tls_context"]["combined_validation_context"]["default_validation_context"] = json!({"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": prefix}}]});
            mesh.client.apply(&[cluster]);
            let answer = get(mesh.at, "/", "").await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{prefix}: {answer}"
            );
        }
        mesh.finish().await;
    });
}

#[test]
fn a_client_of_another_authority_is_refused() {
    run(async {
        let mesh = Mesh::new(echo().await, true, "reviews", json!({})).await;
        mesh.client
            .certificate(Authority::new().certificate(&id_of("productpage")));
        assert!(get(mesh.at, "/", "").await.starts_with("HTTP/1.1 503"));
        mesh.finish().await;
    });
}

#[test]
fn strict_refuses_plaintext_and_counts_it() {
    run(async {
        let mesh = Mesh::new(echo().await, true, "reviews", json!({})).await;
        assert_eq!(get(mesh.inbound, "/", "").await, "");
        let figures = mesh.server.families.stats().listener("virtualInbound");
        assert_eq!(figures.plaintext_refused, 1, "{figures:?}");
        mesh.finish().await;
    });
}

#[test]
fn permissive_serves_both() {
    run(async {
        let mesh = Mesh::new(echo().await, false, "reviews", json!({})).await;
        assert!(
            get(mesh.inbound, "/plain", "")
                .await
                .contains("GET /plain\n")
        );
        assert!(get(mesh.at, "/secure", "").await.contains("GET /secure\n"));
        let none = mesh.server.lines(
            "istio_requests_total",
            &["connection_security_policy=\"none\""],
        );
        let mutual = mesh.server.lines(
            "istio_requests_total",
            &["connection_security_policy=\"mutual_tls\""],
        );
        assert_eq!((none.len(), mutual.len()), (1, 1));
        mesh.finish().await;
    });
}

#[test]
fn grpc_travels_over_mtls() {
    run(async {
        let mesh = Mesh::new(grpc().await, true, "reviews", json!({})).await;
        let mut client = http2::connect(mesh.at).await;
        for _ in 0..3 {
            let request = Request::post("http://a.test/e/E")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(Bytes::from_static(b"hi")))
                .unwrap();
            let response = client.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        }
        drop(client);
        assert_eq!(
            mesh.server
                .families
                .stats()
                .listener("virtualInbound")
                .cx_total,
            1
        );
        mesh.finish().await;
    });
}

#[test]
fn opaque_tcp_travels_over_mtls() {
    run(async {
        let app = server(|mut stream| async move {
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            stream
                .write_all(all.to_uppercase().as_bytes())
                .await
                .unwrap();
        })
        .await;
        let mesh = Mesh::new(app, true, "reviews", json!({})).await;
        let listener = with(
            outbound_listener(json!({})),
            json!({
            "filter_chains": [{"filters": [tcp_proxy("outbound|80||a.test", json!({}))]}]}),
        );
        mesh.client
            .apply(&[mesh_cluster(mesh.inbound, "istio", "reviews"), listener]);
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        client.write_all(b"opaque").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "OPAQUE");
        let closed = || {
            mesh.server
                .lines(
                    "istio_tcp_connections_closed_total",
                    &[
                        "source_principal=\"spiffe://cluster.local/ns/default/sa/productpage\"",
                        "source_workload=\"productpage-v1\"",
                        "source_app=\"productpage\"",
                        "source_version=\"v1\"",
                        "source_workload_namespace=\"default\"",
                        "source_cluster=\"Kubernetes\"",
                        "destination_workload=\"reviews-v1\"",
                    ],
                )
                .len()
                == 1
        };
        mesh.server.until("counted", closed).await;
        // What the proxies tell each other is not the application's.
        let received = mesh.server.lines("istio_tcp_received_bytes_total", &[]);
        assert!(
            matches!(received.as_slice(), [line] if line.ends_with(" 6")),
            "{received:?}"
        );
        mesh.finish().await;
    });
}

#[test]
fn policies_see_the_callers_identity() {
    run(async {
        let policy = json!({"name": "envoy.filters.http.rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"ns[default]-policy[no-admin]-rule[0]": {
                "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}],
                "principals": [{"authenticated": {"principal_name": {"exact": id_of("productpage")}}}],
            }}},
        }});
        let mesh = Mesh::new(echo().await, false, "reviews", filtered(&[policy])).await;
        let denied = get(mesh.at, "/admin/x", "").await;
        assert!(
            denied.starts_with("HTTP/1.1 403") && denied.ends_with("RBAC: access denied"),
            "{denied}"
        );
        assert!(get(mesh.at, "/user", "").await.starts_with("HTTP/1.1 200"));
        // Another caller, here one without identity, is not meant.
        assert!(
            get(mesh.inbound, "/admin/x", "")
                .await
                .starts_with("HTTP/1.1 200")
        );
        mesh.finish().await;
    });
}

#[test]
fn rotation_under_load_loses_no_request() {
    run(async {
        let mesh = Rc::new(Mesh::new(echo().await, true, "reviews", json!({})).await);
        let load = (0..4).map(|_| {
            let mesh = Rc::clone(&mesh);
            async move {
                for turn in 0..60 {
                    let answer = get(mesh.at, &format!("/{turn}"), "").await;
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                }
            }
        });
        let rotate = async {
            for _ in 0..12 {
                mesh.client
                    .certificate(mesh.authority.certificate(&id_of("productpage")));
                mesh.server
                    .certificate(mesh.authority.certificate(&id_of("reviews")));
                mesh.client.worker.sweep();
                mesh.server.worker.sweep();
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        futures::future::join(futures::future::join_all(load), rotate).await;
        assert!(
            mesh.client.cluster("a").cx_total >= 2,
            "rotation made new connections"
        );
        assert_eq!(mesh.client.cluster("a").connect_fail, 0);
        Rc::into_inner(mesh).unwrap().finish().await;
    });
}
