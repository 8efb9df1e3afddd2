//! Which workload a pod belongs to.

use serde_json::Value;

use crate::pod::text_map;

/// The owner of a pod, as metrics name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Name of the Deployment, StatefulSet, CronJob, ... or of the pod itself.
    pub(crate) name: String,
    api_version: String,
    kind: String,
}

impl Workload {
    /// Source: Istio's heuristic; a ReplicaSet that carries its pods' template hash is a
    /// Deployment's, a Job whose name ends in a time is a CronJob's.
    pub(crate) fn of(pod: &Value) -> Workload {
        let metadata = &pod["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == true) else {
            let mut name = text(&metadata["name"]);
            if name.is_empty() {
                let generated = text(&metadata["generateName"]);
                name = generated.trim_end_matches('-').to_owned();
            }
            return Workload {
                name,
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
            };
        };
        let mut workload = Workload {
            name: text(&owner["name"]),
            api_version: text(&owner["apiVersion"]),
            kind: text(&owner["kind"]),
        };
        let labels = text_map(pod, "labels");
        let hash = labels
            .get("pod-template-hash")
            .filter(|hash| !hash.is_empty());
        let without_hash = hash.and_then(|hash| workload.name.strip_suffix(&format!("-{hash}")));
        match workload.kind.as_str() {
            "ReplicaSet" => {
                if let Some(name) = without_hash.map(str::to_owned) {
                    workload.name = name;
                    workload.kind = "Deployment".to_owned();
                }
            }
            "Job" => {
                if let Some(name) = without_time(&workload.name).map(str::to_owned) {
                    workload.name = name;
                    workload.kind = "CronJob".to_owned();
                    workload.api_version = "batch/v1".to_owned();
                }
            }
            _ => {}
        }
        workload
    }

    /// The form of `ISTIO_META_OWNER`; `None` without a name.
    pub(crate) fn owner(&self, namespace: &str) -> Option<String> {
        (!self.name.is_empty()).then(|| {
            let kind = self.kind.to_lowercase();
            let Workload {
                name, api_version, ..
            } = self;
            format!("kubernetes://apis/{api_version}/namespaces/{namespace}/{kind}s/{name}")
        })
    }
}

/// The part of a CronJob's job name before `-<8 to 10 digits>`.
fn without_time(job: &str) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(kind: &str, name: &str) -> String {
        let pod = json!({"metadata": {
            "name": "pod-1",
            "labels": {"pod-template-hash": "5d8"},
            "ownerReferences": [{"kind": kind, "name": name, "apiVersion": "apps/v1", "controller": true}],
        }});
        Workload::of(&pod).owner("shop").unwrap()
    }

    #[test]
    fn the_owner_is_what_people_wrote() {
        let prefix = "kubernetes://apis/apps/v1/namespaces/shop";
        assert_eq!(
            owner("ReplicaSet", "web-5d8"),
            format!("{prefix}/deployments/web")
        );
        assert_eq!(
            owner("ReplicaSet", "web"),
            format!("{prefix}/replicasets/web")
        );
        assert_eq!(
            owner("StatefulSet", "db"),
            format!("{prefix}/statefulsets/db")
        );
        assert_eq!(owner("Job", "load"), format!("{prefix}/jobs/load"));
        assert_eq!(
            owner("Job", "load-28934412"),
            "kubernetes://apis/batch/v1/namespaces/shop/cronjobs/load"
        );
    }

    #[test]
    fn a_pod_without_an_owner_is_its_own() {
        let named = Workload::of(&json!({"metadata": {"name": "a", "generateName": "b-"}}));
        assert_eq!(named.name, "a");
        let generated = Workload::of(&json!({"metadata": {"generateName": "b-"}}));
        assert_eq!(generated.name, "b");
        assert_eq!(Workload::of(&json!({})).owner("shop"), None);
    }
}
