//! Manifests, document by document.

use anyhow::{Context, anyhow, bail};
use mesh_injector::{Context as PodContext, Namespace, Outcome, Selection};
use serde_json::{Value, json};

use super::settings::MeshSettings;
use crate::yaml;

/// Kinds that make pods, and where their template is.
const WORKLOADS: [(&str, &str); 7] = [
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// Injects manifests, and notes what people should know.
pub(super) struct Injection<'a> {
    settings: &'a MeshSettings,
    namespace: &'a str,
    /// A line for each workload that stays as it is, and each warning.
    pub(super) notes: Vec<String>,
}

impl<'a> Injection<'a> {
    /// `namespace`: of manifests that name none.
    pub(super) fn new(settings: &'a MeshSettings, namespace: &'a str) -> Self {
        Injection {
            settings,
            namespace,
            notes: Vec::new(),
        }
    }

    /// The manifests with the proxy in their pods. Documents without workloads stay to the byte.
    ///
    /// # Errors
    /// A document that is no YAML, or a workload that can't be injected, by name.
    pub(super) fn manifests(&mut self, text: &str, source: &str) -> anyhow::Result<String> {
        let mut injected = String::new();
        for document in split(text) {
            let content = document.text;
            let mut value = yaml::read(content)
                .with_context(|| format!("{source}:{}: not YAML", document.line))?;
            let changed = self
                .object(&mut value)
                .with_context(|| format!("{source}:{}", document.line))?;
            if !changed {
                injected.push_str(content);
                continue;
            }
            if content.starts_with("---") {
                injected.push_str("---\n");
            }
            injected.push_str(&yaml::print(&value));
        }
        Ok(injected)
    }

    /// Whether the object was changed.
    fn object(&mut self, object: &mut Value) -> anyhow::Result<bool> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind.ends_with("List")
            && let Some(items) = object.get_mut("items").and_then(Value::as_array_mut)
        {
            let mut changed = false;
            for item in items {
                changed |= self.object(item)?;
            }
            return Ok(changed);
        }
        let workload = WORKLOADS.iter().find(|(known, _)| *known == kind);
        let path = match workload {
            Some((_, path)) => *path,
            None if kind == "Pod" => "",
            None => return Ok(false),
        };
        let owner = workload.map(|_| owner(object));
        let text = |field: &str| object["metadata"][field].as_str();
        let namespace = text("namespace").unwrap_or(self.namespace).to_owned();
        let name = text("name").or(text("generateName")).unwrap_or_default();
        let name = format!("{kind} {namespace}/{name}");
        let place = path.trim_start_matches('/').replace('/', ".");
        let template = object
            .pointer_mut(path)
            .with_context(|| format!("{name} has no {place}"))?;
        check_objects(template, &place).with_context(|| name.clone())?;
        self.template(template, owner, &namespace, &name)
            .map_err(|error| anyhow!("{name}: {error}"))
    }

    fn template(
        &mut self,
        template: &mut Value,
        owner: Option<Value>,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<bool> {
        let namespace = Namespace {
            name: namespace.to_owned(),
            ..Namespace::default()
        };
        let context = PodContext {
            namespace: &namespace,
            mesh: &self.settings.mesh,
            settings: &self.settings.injector,
            selection: Selection::Done,
        };
        let mut pod = template.clone();
        if let Some(owner) = &owner {
            pod["metadata"]["ownerReferences"] = json!([owner]);
        }
        match mesh_injector::inject(&pod, &context)? {
            Outcome::Skip(reason) => {
                self.notes.push(format!("{name} stays as it is: {reason}"));
                Ok(false)
            }
            Outcome::Patch(patch) => {
                let warnings = mesh_injector::warnings(&pod).into_iter();
                let warnings = warnings.map(|warning| format!("warning: {name}: {warning}"));
                self.notes.extend(warnings);
                json_patch::patch(&mut pod, &patch).context("apply the injector's own patch")?;
                if let (Some(_), Some(metadata)) = (owner, pod["metadata"].as_object_mut()) {
                    metadata.remove("ownerReferences");
                }
                *template = pod;
                Ok(true)
            }
        }
    }
}

/// That a pod template, which stands at `place`, has objects where they are needed.
///
/// # Errors
/// Names the field that is something else.
fn check_objects(template: &Value, place: &str) -> anyhow::Result<()> {
    if !template.is_object() {
        bail!("{place} is not an object");
    }
    for path in [
        "metadata",
        "metadata.labels",
        "metadata.annotations",
        "spec",
    ] {
        let field = template.pointer(&format!("/{}", path.replace('.', "/")));
        if field.is_some_and(|field| !field.is_object() && !field.is_null()) {
            let place = [place, path].join(".");
            bail!("{} is not an object", place.trim_start_matches('.'));
        }
    }
    Ok(())
}

/// What the pods of a workload will say about it, so that metrics name them after it.
fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": object["metadata"]["name"],
        "controller": true,
    })
}

/// One document: with its `---` line, if it has one.
struct Document<'a> {
    text: &'a str,
    /// Its first line, from 1.
    line: usize,
}

/// Splits before each line that starts with the separator, so that the parts make up the whole.
fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let separates = line.trim_end() == "---" || line.starts_with("--- ");
        if separates && offset > start {
            documents.push(Document {
                text: &text[start..offset],
                line: start_line,
            });
            (start, start_line) = (offset, index + 1);
        }
        offset += line.len();
    }
    documents.push(Document {
        text: &text[start..],
        line: start_line,
    });
    documents
}

#[cfg(test)]
mod tests;
