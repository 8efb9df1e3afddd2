//! Objects in a test's API server.
#![allow(clippy::unwrap_used, clippy::large_futures, reason = "test support")]

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client, Error};
use serde::Deserialize;
use serde_json::{Value, json};

/// Waits until `condition` holds; fails after 30 s with what was waited for.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !Box::pin(condition()).await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A cluster under test.
pub(crate) struct Check {
    /// With all rights.
    pub(crate) client: Client,
}

impl Check {
    pub(crate) fn new(client: Client) -> Self {
        Check { client }
    }

    pub(crate) async fn namespace(&self, name: &str, labels: Value) {
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(namespace).unwrap();
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }

    /// Creates a pod (or only asks what would become of it); the error is the API server's message.
    pub(crate) async fn pod(
        &self,
        namespace: &str,
        annotations: Value,
        dry_run: bool,
    ) -> Result<Pod, String> {
        let pod = json!({
            "metadata": {"generateName": "web-", "annotations": annotations},
            "spec": {
                "serviceAccountName": "default",
                "containers": [{"name": "web", "image": "web"}],
            },
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let how = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let created = api
            .create(&how, &serde_json::from_value(pod).unwrap())
            .await;
        created.map_err(message)
    }

    /// The definitions of the kinds that are tried, as the base chart installs them.
    pub(crate) async fn crds(&self) {
        let chart = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/charts/base/files"
        );
        let text = std::fs::read_to_string(format!("{chart}/crd-all.gen.yaml")).unwrap();
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for document in serde_yaml::Deserializer::from_str(&text) {
            let crd = CustomResourceDefinition::deserialize(document).unwrap();
            if ["VirtualService", "Gateway"].contains(&crd.spec.names.kind.as_str()) {
                api.create(&PostParams::default(), &crd).await.unwrap();
            }
        }
        let resource = resource("Gateway", "gateways");
        let gateways: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        eventually("the kinds are served", async || {
            gateways.list(&Default::default()).await.is_ok()
        })
        .await;
    }

    /// Creates a VirtualService; the error is the API server's message.
    pub(crate) async fn create(&self, object: &Value) -> Result<(), String> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        let resource = resource("VirtualService", "virtualservices");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let object = serde_json::from_value(object.clone()).unwrap();
        api.create(&PostParams::default(), &object)
            .await
            .map_err(message)?;
        Ok(())
    }
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "networking.istio.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "networking.istio.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn message(error: Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    }
}
