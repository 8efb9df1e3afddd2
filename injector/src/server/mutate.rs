//! `/inject`: a pod is about to be created.

use std::time::Instant;

use super::Server;
use super::review::{Answer, Review};
use crate::{Context, Namespace, Outcome, Selection, warnings};

impl Server {
    /// The patch that gives the pod its proxy. The API server has matched the labels of namespace
    /// and pod with the webhook's selectors, and they stand: a view of our own could only be older.
    pub(super) fn inject(&self, review: &Review) -> Answer {
        let started = Instant::now();
        self.metrics.requests.with(&[]).inc();
        let answer = self.mutate(review);
        let took = started.elapsed().as_secs_f64();
        self.metrics.seconds.with(&[]).observe(took);
        answer
    }

    fn mutate(&self, review: &Review) -> Answer {
        let kind = &review.kind;
        if (kind.group.as_str(), kind.kind.as_str()) != ("", "Pod")
            || !review.sub_resource.is_empty()
            || !review.object.is_object()
        {
            // The rules of a webhook configuration that is not ours.
            self.metrics.skipped.with(&[]).inc();
            return Answer::allow();
        }
        let Some(inputs) = self.inputs.borrow().clone() else {
            self.metrics.failed.with(&[]).inc();
            return Answer::unavailable(
                "the mesh's control plane is starting and has not read its settings yet; try again"
                    .to_owned(),
            );
        };
        let namespace = Namespace {
            name: review.namespace.clone(),
            ..Namespace::default()
        };
        let context = Context {
            namespace: &namespace,
            mesh: &inputs.mesh,
            settings: &inputs.settings,
            selection: Selection::Done,
        };
        let pod = describe(review);
        match crate::inject(&review.object, &context) {
            Ok(Outcome::Patch(patch)) => {
                tracing::debug!(pod, "injected");
                self.metrics.injected.with(&[]).inc();
                Answer::patch(patch).warn(warnings(&review.object))
            }
            Ok(Outcome::Skip(reason)) => {
                tracing::debug!(pod, %reason, "not injected");
                self.metrics.skipped.with(&[]).inc();
                Answer::allow()
            }
            Err(error) => {
                tracing::warn!(pod, %error, "pod refused");
                self.metrics.failed.with(&[]).inc();
                Answer::deny(format!("cannot inject the mesh's proxy: {error}"))
            }
        }
    }
}

/// Name for the log: pods of controllers have only a prefix at this time.
fn describe(review: &Review) -> String {
    let metadata = &review.object["metadata"];
    let name = [&metadata["name"], &metadata["generateName"]];
    let name = name.into_iter().find_map(|name| name.as_str());
    format!("{}/{}", review.namespace, name.unwrap_or_default())
}
