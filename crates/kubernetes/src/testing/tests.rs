use k8s_openapi::api::authentication::v1::{
    TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::ApiServer;
use crate::explain;

/// One server for all checks: starting it is what takes the time.
#[tokio::test]
async fn a_private_api_server_serves_tokens_rights_and_outages() {
    let Some(mut server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    Box::pin(tokens_are_issued_and_reviewed(&client)).await;

    let nobody: Api<ConfigMap> = Api::default_namespaced(server.client_as("nobody").await);
    let refused = nobody.list(&Default::default()).await.unwrap_err();
    assert!(
        explain(&refused).starts_with("no permission: "),
        "{refused}"
    );

    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let kept = ConfigMap {
        metadata: ObjectMeta {
            name: Some("kept".into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &kept).await.unwrap();
    server.stop();
    let away = maps.get("kept").await.unwrap_err();
    assert!(
        explain(&away).starts_with("the API server does not answer: "),
        "{}",
        explain(&away)
    );
    server.restart().await;
    maps.get("kept").await.unwrap();
}

async fn tokens_are_issued_and_reviewed(client: &Client) {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some("reviews".into()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let post = PostParams::default();
    accounts.create(&post, &account).await.unwrap();
    let audiences = vec!["istio-ca".to_owned()];
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audiences.clone(),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let issued = accounts
        .create_token_request("reviews", &post, &request)
        .await
        .unwrap();
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: issued.status.map(|status| status.token),
            audiences: Some(audiences),
        },
        ..TokenReview::default()
    };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let status = reviews
        .create(&post, &review)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.authenticated, Some(true), "{status:?}");
    assert_eq!(
        status.user.unwrap().username.unwrap(),
        "system:serviceaccount:default:reviews"
    );
}
