//! Objects for the checks, and waiting for what comes.

use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use mesh_citadel::{Options, distribute, root};
use mesh_kubernetes::kube::api::{ObjectMeta, PostParams};
use mesh_kubernetes::kube::{Api, Client};

/// A loaded machine of two cores needs some seconds for what otherwise takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

pub(crate) fn settings(namespace: &str) -> root::Settings {
    root::Settings {
        namespace: namespace.to_owned(),
        authority: Options::default(),
        propagation: Duration::from_secs(1),
    }
}

pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

pub(crate) async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: named(name),
        ..Namespace::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("create a namespace");
}

pub(crate) fn secret(name: &str, texts: &[(&str, &str)]) -> Secret {
    let data = texts
        .iter()
        .map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        metadata: named(name),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

/// The roots that a namespace has been given.
pub(crate) async fn config_map(client: &Client, namespace: &str) -> Option<String> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = maps.get_opt(distribute::CONFIG_MAP).await;
    let found = found.expect("read a ConfigMap");
    found?.data?.remove(distribute::KEY)
}

/// A token of a new service account.
pub(crate) async fn token(
    client: &Client,
    namespace: &str,
    account: &str,
    audience: &str,
) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let parameters = PostParams::default();
    let new = ServiceAccount {
        metadata: named(account),
        ..ServiceAccount::default()
    };
    let created = accounts.create(&parameters, &new).await;
    created.expect("create a service account");
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answered = accounts
        .create_token_request(account, &parameters, &request)
        .await
        .expect("ask for a token");
    answered.status.expect("an answer has a status").token
}
