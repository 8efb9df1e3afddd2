use super::*;

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn framed(status: i32) -> Vec<u8> {
    let message = HealthCheckResponse { status }.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    body
}

#[test]
fn judges_grpc_health_answers() {
    let ok = map(&[("grpc-status", "0")]);
    let none = HeaderMap::new();
    assert_eq!(judge(&none, &ok, &framed(1)), Ok(()));
    assert!(
        judge(&none, &ok, &framed(2))
            .unwrap_err()
            .contains("serving status 2")
    );
    assert!(
        judge(&map(&[("grpc-status", "5")]), &none, &[])
            .unwrap_err()
            .contains("gRPC status 5")
    );
    assert!(
        judge(&none, &none, &framed(1))
            .unwrap_err()
            .contains("without a gRPC status")
    );
    assert!(judge(&none, &ok, b"\0\0\0\0\x02\xff\xff").is_err());
}

#[test]
fn asks_for_the_service_in_a_grpc_frame() {
    let probe = GrpcProbe {
        port: 9,
        service: "reviews".to_owned(),
        timeout: Duration::from_secs(1),
    };
    let request = grpc_request("10.0.0.1:9".parse().unwrap(), &probe);
    assert_eq!(
        request.uri(),
        "http://10.0.0.1:9/grpc.health.v1.Health/Check"
    );
    assert_eq!(request.headers()["content-type"], "application/grpc");
}
