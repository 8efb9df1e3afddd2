use super::{refuse_each, spec};
use crate::tls::{ServerCredential, ServerTls, TerminationMode};

#[test]
fn servers_are_read() {
    let gateway = spec!(
        Gateway,
        "selector: {istio: ingressgateway}\nservers:\n- port: {number: 80, name: http, protocol: HTTP}\n  hosts: [\"*\"]\n  tls: {httpsRedirect: true}\n- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: [\"./a.com\", \"ns/*.b.com\"]\n  tls: {mode: MUTUAL, credentialName: cert, minProtocolVersion: TLSV1_2}\n- port: {number: 8443, name: tls, protocol: TLS}\n  hosts: [\"*\"]\n  tls: {mode: PASSTHROUGH}"
    );
    assert!(gateway.servers[0].https_redirect);
    assert_eq!(gateway.servers[0].tls, None);
    let Some(ServerTls::Terminate(tls)) = &gateway.servers[1].tls else {
        panic!()
    };
    let TerminationMode::Mutual {
        credential,
        optional,
        ..
    } = &tls.mode
    else {
        panic!()
    };
    assert_eq!(
        (credential, *optional),
        (&ServerCredential::Secrets(vec!["cert".into()]), false)
    );
    assert_eq!(gateway.servers[2].tls, Some(ServerTls::Passthrough));
    let [own, other] = gateway.servers[1].hosts.as_slice() else {
        panic!()
    };
    let host = |text: &str| text.parse().unwrap();
    assert!(own.admits("shop", &host("a.com")) && !own.admits("x", &host("a.com")));
    assert!(other.admits("ns", &host("x.b.com")) && !other.admits("ns", &host("b.com")));
}

#[test]
fn what_is_refused() {
    let server = |rest: &str| {
        format!(
            "servers:\n- port: {{number: 443, name: a, protocol: HTTPS}}\n  hosts: [a.com]\n  {rest}"
        )
    };
    let cases = [
        ("selector: {a: b}".to_owned(), "spec.servers: required, but missing; add at least one server"),
        ("servers: [{port: {number: 80, name: a, protocol: HTTP}}]".to_owned(), "spec.servers[0].hosts: required, but missing; name at least one host, for example \"*\""),
        ("servers: [{hosts: [a]}]".to_owned(), "spec.servers[0].port: required, but missing; name port number, protocol and name"),
        ("servers: [{hosts: [a], port: {number: 80, name: a, protocol: HTTPX}}]".to_owned(), "spec.servers[0].port.protocol: \"HTTPX\" is not a protocol: use one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL, REDIS"),
        ("servers: [{hosts: [a], port: {number: 80, name: a, protocol: HTTP}, tls: {mode: SIMPLE, credentialName: c}}]".to_owned(), "spec.servers[0].tls.mode: port protocol HTTP has no TLS; use protocol HTTPS or TLS for the port, or remove tls"),
        ("servers: [{hosts: [a], port: {number: 80, name: a, protocol: HTTP}}, {hosts: [a], port: {number: 80, name: b, protocol: TLS}, tls: {}}]".to_owned(), "spec.servers[1].port.protocol: port 80 cannot speak both HTTP and TLS; use different ports"),
        ("servers: [{hosts: [a], port: {number: 80, name: a, protocol: HTTP}}, {hosts: [b], port: {number: 81, name: a, protocol: HTTP}}]".to_owned(), "spec.servers[1].port.name: port name \"a\" is used twice; give each server's port a name of its own"),
        (server("name: x"), "spec.servers[0].tls: required for protocol HTTPS; add tls with a mode, for example SIMPLE with a credentialName"),
        (server("tls: {mode: SIMPLE}"), "spec.servers[0].tls.credentialName: no certificate; set credentialName to the secret with the certificate"),
        (server("tls: {credentialName: c}"), "spec.servers[0].tls.credentialName: has no effect with mode PASSTHROUGH (the default); set mode to SIMPLE or MUTUAL, or remove it"),
        (server("tls: {mode: AUTO_PASSTHROUGH}"), "spec.servers[0].tls.mode: AUTO_PASSTHROUGH is not implemented yet; use PASSTHROUGH with a VirtualService that routes by SNI"),
        (server("tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_0}"), "spec.servers[0].tls.minProtocolVersion: TLSV1_0 is not implemented yet; the proxy speaks TLS 1.2 and 1.3 only: use TLSV1_2"),
        (server("tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}"), "spec.servers[0].tls.minProtocolVersion: is newer than maxProtocolVersion; swap the two"),
        (server("tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}"), "spec.servers[0].tls.caCertificates: required for client certificates; name the file of the CA that signs client certificates"),
        (server("tls: {mode: SIMPLE, credentialName: c, httpsRedirect: true}"), "spec.servers[0].tls.httpsRedirect: has no effect with protocol HTTPS; set it on the plain HTTP server"),
        (server("tls: {mode: SIMPLE, credentialName: c}\n  bind: here"), "spec.servers[0].bind: \"here\" is not an IP address; remove it to bind to all"),
        (server("tls: {mode: ISTIO_MUTUAL, credentialName: c}"), "spec.servers[0].tls.credentialName: cannot be set with mode ISTIO_MUTUAL, which uses the gateway's own certificate; remove it"),
    ];
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(spec, message)| (spec.as_str(), *message))
        .collect();
    refuse_each("Gateway", &cases);
}
