//! The authority against a real API server: its Secrets, the roots in every namespace, and who
//! calls. Needs kube-apiserver and etcd, and says so where it is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "the checks are functions of one test"
)]

#[path = "kubernetes/support.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_citadel::root::{self, RootError};
use mesh_citadel::{TokenError, Verifier, distribute};
use mesh_kubernetes::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use mesh_kubernetes::kube::{Api, Client};
use mesh_kubernetes::lease;
use mesh_kubernetes::testing::ApiServer;
use serde_json::json;
use tokio::sync::watch;

use support::{config_map, eventually, namespace, secret, settings, token};

/// One server for all checks: starting it is what takes the time. Each check has a namespace.
#[tokio::test(flavor = "multi_thread")]
async fn the_authority_on_kubernetes() {
    let Some(mut server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    Box::pin(two_replicas_make_one_root(&client)).await;
    Box::pin(a_broken_secret_is_named_and_no_new_root_made(&client)).await;
    Box::pin(every_namespace_has_the_roots(&client)).await;
    Box::pin(a_rotation_keeps_both_roots_and_needs_no_restart(&client)).await;
    Box::pin(a_certificate_of_a_clock_ahead_is_taken_a_little_later(
        &client,
    ))
    .await;
    Box::pin(one_of_two_leads_until_it_resigns(&client)).await;
    Box::pin(tokens_are_asked_about(&client, &mut server)).await;
}

async fn two_replicas_make_one_root(client: &Client) {
    namespace(client, "race").await;
    let open = || root::open(client.clone(), settings("race"));
    let (one, two) = tokio::join!(Box::pin(open()), Box::pin(open()));
    let (one, two) = (one.unwrap().live(), two.unwrap().live());
    assert_eq!(one.current().root_pem(), two.current().root_pem());
    let again = Box::pin(open()).await.unwrap().live();
    assert_eq!(again.current().root_pem(), one.current().root_pem());
}

async fn a_broken_secret_is_named_and_no_new_root_made(client: &Client) {
    namespace(client, "broken").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "broken");
    let broken = secret(
        "istio-ca-secret",
        &[("ca-cert.pem", "x"), ("ca-key.pem", "y")],
    );
    secrets
        .create(&PostParams::default(), &broken)
        .await
        .unwrap();
    let error = Box::pin(root::open(client.clone(), settings("broken")))
        .await
        .unwrap_err();
    assert!(matches!(error, RootError::Authority(_)), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("key ca-cert.pem of Secret broken/istio-ca-secret"),
        "{said}"
    );
    let kept = secrets.get("istio-ca-secret").await.unwrap();
    assert_eq!(kept.data, broken.data);
}

async fn every_namespace_has_the_roots(client: &Client) {
    namespace(client, "roots").await;
    let root = Box::pin(root::open(client.clone(), settings("roots")))
        .await
        .unwrap();
    let live = root.live();
    let pem = live.current().root_pem().to_owned();
    let (lead, leading) = watch::channel(true);
    let task = tokio::spawn(distribute::run(client.clone(), live, leading));
    let has = async |namespace: &str| config_map(client, namespace).await == Some(pem.clone());
    for known in ["roots", "default", "kube-system"] {
        eventually("a namespace has the roots", async || has(known).await).await;
    }
    assert_eq!(config_map(client, "kube-public").await, None);

    namespace(client, "roots-later").await;
    eventually("a new namespace has the roots", async || {
        has("roots-later").await
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "roots-later");
    let labels = maps
        .get(distribute::CONFIG_MAP)
        .await
        .unwrap()
        .metadata
        .labels;
    assert_eq!(labels.unwrap()["istio.io/config"], "true");

    let edit = Patch::Merge(json!({"data": {"root-cert.pem": "edited", "other": "kept"}}));
    let parameters = PatchParams::default();
    maps.patch(distribute::CONFIG_MAP, &parameters, &edit)
        .await
        .unwrap();
    eventually("an edit is undone", async || has("roots-later").await).await;
    let data = maps
        .get(distribute::CONFIG_MAP)
        .await
        .unwrap()
        .data
        .unwrap();
    assert_eq!(data["other"], "kept");

    maps.delete(distribute::CONFIG_MAP, &DeleteParams::default())
        .await
        .unwrap();
    eventually("a deleted one is back", async || has("roots-later").await).await;

    // Another leads now: what it wrote is not ours to change.
    lead.send(false).unwrap();
    maps.patch(distribute::CONFIG_MAP, &parameters, &edit)
        .await
        .unwrap();
    drop(lead);
    task.await.unwrap();
    assert!(!has("roots-later").await);
}

async fn a_rotation_keeps_both_roots_and_needs_no_restart(client: &Client) {
    namespace(client, "rotation").await;
    let open = || root::open(client.clone(), settings("rotation"));
    let (leader, follower) = (
        Box::pin(open()).await.unwrap(),
        Box::pin(open()).await.unwrap(),
    );
    let lives = [leader.live(), follower.live()];
    let (_leads, leading) = watch::channel(true);
    let (_follows, following) = watch::channel(false);
    let tasks = [
        tokio::spawn(leader.run(leading)),
        tokio::spawn(follower.run(following)),
    ];
    let roots = |at: usize| lives[at].current().root_pem().matches("BEGIN").count();
    let serial = |at: usize| lives[at].current().info().serial.clone();
    let first = serial(0);

    let secrets: Api<Secret> = Api::namespaced(client.clone(), "rotation");
    let written = async || secrets.get_opt("citadel-trust").await.unwrap().is_some();
    eventually("what is trusted is written down", written).await;
    let ask = json!({"metadata": {"annotations": {"mesh.citadel/rotate-root": "now"}}});
    secrets
        .patch(
            "istio-ca-secret",
            &PatchParams::default(),
            &Patch::Merge(ask),
        )
        .await
        .unwrap();
    for replica in [0, 1] {
        eventually("both roots are given out", async || roots(replica) == 2).await;
        eventually("the new root signs", async || serial(replica) != first).await;
        assert_eq!(roots(replica), 2, "the old one is still trusted");
    }
    assert_eq!(serial(0), serial(1));

    // Gone is not forgotten: without it, a restart would make a new root.
    secrets
        .delete("istio-ca-secret", &DeleteParams::default())
        .await
        .unwrap();
    let back = async || secrets.get_opt("istio-ca-secret").await.unwrap().is_some();
    eventually("a deleted root is written again", back).await;
    let again = Box::pin(open()).await.unwrap().live();
    assert_eq!(again.current().info().serial, serial(0));
    assert_eq!(again.current().root_pem(), lives[0].current().root_pem());
    for task in tasks {
        task.abort();
    }
}

async fn a_certificate_of_a_clock_ahead_is_taken_a_little_later(client: &Client) {
    namespace(client, "ahead").await;
    let root = root::open(client.clone(), settings("ahead")).await.unwrap();
    let live = root.live();
    let first = live.current().info().serial.clone();
    let (_leads, leading) = watch::channel(true);
    let task = tokio::spawn(root.run(leading));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = (std::time::SystemTime::now() + Duration::from_secs(3)).into();
    let pem = params.self_signed(&key).unwrap().pem();
    let cacerts = secret(
        "cacerts",
        &[
            ("ca-cert.pem", pem.as_str()),
            ("ca-key.pem", &key.serialize_pem()),
            ("cert-chain.pem", &pem),
            ("root-cert.pem", &pem),
        ],
    );
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "ahead");
    secrets
        .create(&PostParams::default(), &cacerts)
        .await
        .unwrap();
    let signs = async || live.current().info().serial != first;
    eventually("it signs once it is valid", signs).await;
    task.abort();
}

async fn one_of_two_leads_until_it_resigns(client: &Client) {
    namespace(client, "lease").await;
    let run = |identity| lease::campaign(client.clone(), "lease", "leader", identity);
    let first = run("one");
    first.leading().wait_for(|leads| *leads).await.unwrap();
    let second = run("two");
    let mut takes_over = second.leading();
    let early = tokio::time::timeout(
        lease::RETRY_PERIOD + Duration::from_secs(1),
        takes_over.wait_for(|leads| *leads),
    )
    .await
    .is_ok();
    assert!(!early, "two lead");
    first.resign().await;
    tokio::time::timeout(lease::DURATION, takes_over.wait_for(|leads| *leads))
        .await
        .expect("the other takes over")
        .unwrap();
    second.resign().await;
}

async fn tokens_are_asked_about(client: &Client, server: &mut ApiServer) {
    namespace(client, "tokens").await;
    let ours = token(client, "tokens", "reviews", "istio-ca").await;
    let verifier = Arc::new(Verifier::token_review(client.clone(), "istio-ca"));
    let caller = verifier.verify(&ours).await.unwrap();
    assert_eq!(
        (caller.namespace.as_str(), caller.service_account.as_str()),
        ("tokens", "reviews")
    );

    let other = token(client, "tokens", "ratings", "api").await;
    let said = verifier.verify(&other).await.unwrap_err().to_string();
    assert!(said.contains("its audience is not \"istio-ca\""), "{said}");
    // The API server itself is asked about one whose words are good and whose signature isn't.
    let (body, _) = ours.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let forged = format!("{body}.{signature}");
    let error = verifier.verify(&forged).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused { .. }), "{error}");

    let nobody = Verifier::token_review(server.client_as("nobody").await, "istio-ca");
    let error = nobody.verify(&ours).await.unwrap_err();
    assert!(matches!(error, TokenError::Review { .. }), "{error}");
    assert!(error.to_string().contains("no permission"), "{error}");

    server.stop();
    verifier.verify(&ours).await.expect("it is remembered");
    let unknown = token_of_yesterday(&ours);
    let error = verifier.verify(&unknown).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused { .. }), "{error}");
    let error = verifier.verify(&forged).await.unwrap_err();
    assert!(matches!(error, TokenError::Review { .. }), "{error}");
    // A control plane that starts now waits, and goes on once the API server is there.
    let waiting = tokio::spawn(root::open(client.clone(), settings("tokens")));
    server.restart().await;
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("the authority is there soon")
        .unwrap()
        .unwrap();
}

/// The token, as if it had ended: the API server need not be asked about it.
fn token_of_yesterday(token: &str) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: serde_json::Value =
        serde_json::from_slice(&engine.decode(parts[1]).unwrap()).unwrap();
    claims["exp"] = json!(1_700_000_000);
    let claims = engine.encode(claims.to_string());
    format!("{}.{claims}.{}", parts[0], parts[2])
}
