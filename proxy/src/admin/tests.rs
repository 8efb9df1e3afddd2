use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::control::tests::{control_of, fake::ControlPlane};

async fn ask(control: &Rc<Control>, method: Method, target: &str) -> (StatusCode, Bytes) {
    let uri: http::Uri = target.parse().unwrap();
    let admin = Admin::new(Rc::clone(control));
    let answer = admin.answer(&method, uri.path(), &Query::of(&uri));
    let status = answer.status();
    (
        status,
        answer.into_body().collect().await.unwrap().to_bytes(),
    )
}

async fn get(control: &Rc<Control>, target: &str) -> Value {
    let (status, body) = ask(control, Method::GET, target).await;
    assert_eq!(status, StatusCode::OK, "{target}");
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn answers_in_envoys_shapes() {
    let plane = ControlPlane::start(Duration::from_secs(3600)).await;
    let control = control_of(&plane);
    let certificate = crate::certs::request::certificate(&control.shared.bootstrap)
        .await
        .unwrap();
    control.shared.certs.publish(certificate);

    let dump = get(&control, "/config_dump?include_eds").await;
    let kinds: Vec<&str> = dump["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| {
            config["@type"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "ListenersConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump",
            "EndpointsConfigDump"
        ]
    );
    let secrets = &dump["configs"][4]["dynamic_active_secrets"];
    assert_eq!(secrets[0]["name"], "default");
    assert_eq!(
        secrets[0]["secret"]["tls_certificate"]["private_key"]["inline_string"],
        "[redacted]"
    );
    let certs = get(&control, "/certs").await;
    let leaf = &certs["certificates"][0]["cert_chain"][0];
    assert_eq!(
        leaf["subject_alt_names"][0]["uri"],
        control.shared.bootstrap.id.as_str()
    );
    assert!(get(&control, "/clusters?format=json").await["cluster_statuses"].is_array());
    assert!(get(&control, "/listeners?format=json").await["listener_statuses"].is_array());
    let stats = get(
        &control,
        "/stats?format=json&filter=^istio_build|^meshproxy",
    )
    .await;
    assert!(stats["stats"].is_array(), "{stats}");
    let info = get(&control, "/server_info").await;
    assert_eq!(info["state"], "INITIALIZING");
    assert_eq!(
        info["node"]["id"],
        control.shared.bootstrap.node.id.as_str()
    );
}

#[tokio::test]
async fn refuses_what_it_cannot_do() {
    let plane = ControlPlane::start(Duration::from_secs(3600)).await;
    let control = control_of(&plane);
    for (method, target, status) in [
        (Method::GET, "/nowhere", 404),
        (Method::GET, "/quitquitquit", 405),
        (Method::POST, "/stats", 405),
        (Method::GET, "/config_dump?mask=x", 400),
        (Method::GET, "/config_dump?resource=nothing", 404),
        (Method::GET, "/stats?filter=(", 400),
        (Method::GET, "/stats?format=xml", 400),
        (Method::POST, "/logging?level=loud", 400),
        (Method::POST, "/logging?mesh_proxy=loud", 400),
        (Method::POST, "/logging?paths=mesh_proxy:debug,h2:loud", 400),
        (Method::GET, "/logging", 405),
        (Method::GET, "/ready", 503),
        (Method::GET, "/healthz", 200),
    ] {
        let (found, body) = ask(&control, method, target).await;
        assert_eq!(found.as_u16(), status, "{target}: {body:?}");
    }
}

#[tokio::test]
async fn drain_and_end_are_asked_for_by_post() {
    let plane = ControlPlane::start(Duration::from_secs(3600)).await;
    let control = control_of(&plane);
    let (status, _) = ask(&control, Method::POST, "/drain_listeners?graceful").await;
    assert_eq!(status, StatusCode::OK);
    assert!(control.shared.drain.is_draining());
    ask(&control, Method::POST, "/quitquitquit").await;
    control.shutdown.asked().await;
}

#[tokio::test]
async fn the_subcommand_drains_inbound_and_leaves_readiness() {
    let plane = ControlPlane::start(Duration::from_secs(3600)).await;
    let control = control_of(&plane);
    let before = crate::status::not_ready(&control.shared);
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = server::listen(any, "the admin interface").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broken = server::broken(&control.shared.registry).with(&["admin"]);
    let serving = server::serve(listener, Admin::new(Rc::clone(&control)), broken);
    let draining = async {
        tokio::select! {
            () = serving => panic!("the server ended"),
            drained = drain::run(address) => drained.unwrap(),
        }
    };
    let local = tokio::task::LocalSet::new();
    local.run_until(Box::pin(draining)).await;
    assert_eq!(control.shared.drain.phase(), Phase::DrainingInbound);
    assert_eq!(crate::status::not_ready(&control.shared), before);
}
