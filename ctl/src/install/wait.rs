//! Waiting until objects are ready, and telling what they wait for.

use std::time::Duration;

use futures::future::try_join_all;
use kube::api::ListParams;
use serde_json::Value;
use tokio::time::Instant;

use super::ready::{Around, Reason, unready};
use crate::cluster::{Cluster, ObjectId};

/// How often the cluster is looked at: soon enough to look immediate, and a handful of requests.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Lines from the end of a crashed container's log in which its last words are sought.
const LOG_LINES: u32 = 20;
/// How what a node sends begins when it has thrown a log away.
const IN_PLACE_OF_A_LOG: [&str; 2] = [
    "unable to retrieve container logs",
    "failed to try resolving symlinks",
];

/// An object that is missing or not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unready {
    pub(crate) id: ObjectId,
    /// One line.
    pub(crate) reason: String,
}

impl Unready {
    /// `Deployment istio-system/istiod: 0 of 1 pods ready: ...`.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.id, self.reason)
    }
}

/// Waits until every object of `ids` is ready or `deadline` has passed; `note` is told what is being
/// waited for. Returns what was not ready at the end.
///
/// An API server that is away for a while is waited for, too.
pub(crate) async fn until_ready(
    cluster: &Cluster,
    ids: &[ObjectId],
    deadline: Instant,
    mut note: impl FnMut(&str),
) -> anyhow::Result<Vec<Unready>> {
    loop {
        let found = look(cluster, ids).await;
        match &found {
            Ok(unready) if unready.is_empty() => return found,
            Ok(unready) => note(&unready[0].line()),
            Err(error) => note(&format!("{error:#}")),
        }
        if Instant::now() >= deadline {
            return found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The objects of `ids` that are missing or not ready now, in order.
pub(crate) async fn look(cluster: &Cluster, ids: &[ObjectId]) -> anyhow::Result<Vec<Unready>> {
    let objects = cluster.get_all(ids).await?;
    let pairs = ids.iter().zip(objects);
    let found = pairs.map(|(id, object)| judge(cluster, id, object));
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

async fn judge(
    cluster: &Cluster,
    id: &ObjectId,
    object: Option<Value>,
) -> anyhow::Result<Option<Unready>> {
    let with = |reason: String| {
        Some(Unready {
            id: id.clone(),
            reason,
        })
    };
    let Some(object) = object else {
        return Ok(with("missing".to_owned()));
    };
    if unready(&object, &Around::default()).is_none() {
        return Ok(None);
    }
    let around = around(cluster, &object).await?;
    let Some(Reason { text, crashed }) = unready(&object, &around) else {
        return Ok(None);
    };
    let said = match (&id.namespace, crashed) {
        (Some(namespace), Some((pod, container))) => {
            last_words(cluster, namespace, &pod, &container).await
        }
        _ => None,
    };
    Ok(with(match said {
        Some(said) => format!("{text}; its last words: {said}"),
        None => text,
    }))
}

/// Pods of a workload, and the events of its namespace. Nothing for other kinds.
async fn around(cluster: &Cluster, object: &Value) -> anyhow::Result<Around> {
    let namespace = object["metadata"]["namespace"].as_str();
    let Some(labels) = object["spec"]["selector"]["matchLabels"].as_object() else {
        return Ok(Around::default());
    };
    let pairs = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let selector = pairs.collect::<Vec<_>>().join(",");
    let pods = ListParams::default().labels(&selector);
    let warnings = ListParams::default().fields("type=Warning");
    Ok(Around {
        pods: cluster.list_kind(("v1", "Pod"), namespace, &pods).await?,
        events: cluster
            .list_kind(("v1", "Event"), namespace, &warnings)
            .await?,
    })
}

/// What a container wrote before it ended, if the API server can get at it.
async fn last_words(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Option<String> {
    for previous in ["true", "false"] {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={previous}&tailLines={LOG_LINES}"
        );
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        let log = Box::pin(cluster.client().request_text(request)).await;
        if let Some(line) = telling_line(&log.unwrap_or_default()) {
            return Some(line.to_owned());
        }
    }
    None
}

/// The last line that speaks of an error, or else the last one.
fn telling_line(log: &str) -> Option<&str> {
    let lines = log.lines().map(str::trim).rev();
    let lines = lines.filter(|line| !IN_PLACE_OF_A_LOG.iter().any(|text| line.starts_with(text)));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let error = lines
        .iter()
        .find(|line| line.to_ascii_lowercase().contains("error"));
    error.or(lines.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_more_than_the_last_line() {
        let log = "starting\nerror: no flag --x\n\nFor more information, try '--help'.\n";
        assert_eq!(telling_line(log), Some("error: no flag --x"));
        assert_eq!(telling_line("a\nb\n\n"), Some("b"));
        for text in IN_PLACE_OF_A_LOG {
            assert_eq!(telling_line(&format!("{text} for x")), None);
        }
    }
}
