//! Whether validation answers: an invalid object, created in a dry run, must be refused by it.
//!
//! Source: Istio's way to find the moment at which failing closed is safe.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client, Error};
use serde_json::json;
use tokio::sync::watch;

use crate::Cluster;

/// Time between two attempts.
const INTERVAL: Duration = Duration::from_secs(1);
/// The end of our validating webhooks' names.
const WEBHOOK: &str = "validation.istio.io";

/// Tries while `wanted` holds; sets `answer` at the first refusal, and ends then, or when nobody
/// wants to know any more.
pub(super) async fn run(
    client: Client,
    cluster: Cluster,
    mut wanted: watch::Receiver<bool>,
    answer: watch::Sender<bool>,
) {
    let mut told = String::new();
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        match Box::pin(attempt(&client, &cluster)).await {
            Ok(()) => {
                tracing::info!("validation answers: from now on it fails closed");
                answer.send_replace(true);
                return;
            }
            Err(reason) if reason != told => {
                tracing::info!(reason, "validation does not answer yet: it fails open");
                told = reason;
            }
            Err(_) => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// # Errors
/// Why it can't be said that validation answers.
async fn attempt(client: &Client, cluster: &Cluster) -> Result<(), String> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "Gateway");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &cluster.namespace, &resource);
    // Valid for its CRD, but without a single server.
    let mut object = DynamicObject::new("invalid-on-purpose", &resource).data(json!({"spec": {}}));
    let label = cluster.revision_label().to_owned();
    object.metadata.labels = Some([("istio.io/rev".to_owned(), label)].into());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match mesh_kubernetes::answered(api.create(&dry_run, &object)).await {
        Ok(_) => Err("an invalid object was accepted".to_owned()),
        Err(Error::Api(status)) if refused_by_us(&status.message) => Ok(()),
        // Without the CRD there is nothing that could be validated.
        Err(Error::Api(status))
            if status.code == 404 && status.message.contains("the server could not find") =>
        {
            Ok(())
        }
        Err(error) => Err(mesh_kubernetes::explain(&error)),
    }
}

fn refused_by_us(message: &str) -> bool {
    message.contains(&format!("{WEBHOOK}\" denied the request"))
}
