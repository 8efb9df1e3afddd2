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
