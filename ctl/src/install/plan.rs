//! What an installation would do to a cluster: found out before anything is done.

use anyhow::bail;
use owo_colors::OwoColorize;
use serde_json::Value;

use super::diff::changes;
use super::manifest::{COMPONENT, Component, Place, REVISION};
use super::record::{self, Owned};
use crate::cluster::{Apply, Cluster, ObjectId};
use crate::envoy::{items, text};
use crate::output;

/// Whether objects of others may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// They are left alone; if one is in the way, that is an error.
    Refuse,
    /// They become this installation's.
    TakeOver,
}

/// What has to be done to one object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It doesn't exist.
    Create,
    /// It differs in these fields.
    Change(Vec<String>),
    /// It is as wanted.
    Keep,
}

/// One object and what has to be done to it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: ObjectId,
    pub(crate) object: Value,
    pub(crate) action: Action,
}

/// The steps of one component.
#[derive(Debug)]
pub(crate) struct PlannedComponent {
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// Everything that has to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) components: Vec<PlannedComponent>,
    /// Objects of this revision that are not wanted any more, in the order in which they go.
    pub(crate) prune: Vec<ObjectId>,
}

/// Whose an object is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Us,
    Revision(String),
    /// Of whom, as far as the object tells.
    Foreign(String),
}

impl Plan {
    /// Compares `components` with what is in the cluster, of which `owned` are this program's;
    /// changes nothing.
    ///
    /// # Errors
    /// If objects of others are in the way, or the API server refuses a change in advance.
    pub(crate) async fn make(
        cluster: &Cluster,
        components: Vec<Component>,
        owned: Vec<Owned>,
        place: &Place,
        foreign: Foreign,
    ) -> anyhow::Result<Self> {
        let mut plan = Self {
            components: Vec::new(),
            prune: Vec::new(),
        };
        let mut in_the_way = Vec::new();
        for component in components {
            let mut steps = Vec::new();
            let ids = component.objects.iter().map(ObjectId::of);
            let ids: Vec<ObjectId> = ids.collect::<anyhow::Result<_>>()?;
            let live = cluster.get_all(&ids).await?;
            for ((id, object), live) in ids.into_iter().zip(component.objects).zip(live) {
                match owner(live.as_ref(), &place.revision) {
                    // A namespace that was there before stays the user's.
                    Owner::Foreign(_) if id.kind == "Namespace" => {}
                    Owner::Foreign(whose) if foreign == Foreign::Refuse => {
                        in_the_way.push((id, whose));
                    }
                    _ => steps.push((id, object, live)),
                }
            }
            let steps = compare(cluster, steps).await?;
            plan.components.push(PlannedComponent {
                title: component.title,
                steps,
            });
        }
        if !in_the_way.is_empty() {
            bail!("{}", refusal(&in_the_way));
        }
        plan.prune = plan.unwanted(owned, place);
        Ok(plan)
    }

    /// Objects that an earlier version or other values brought. CRDs stay: with them would go every
    /// object that users made of them.
    fn unwanted(&self, owned: Vec<Owned>, place: &Place) -> Vec<ObjectId> {
        let alone = record::revisions(&owned)
            .iter()
            .all(|one| *one == place.revision);
        let of_revision = record::is_of(&owned, &place.revision, &place.namespace);
        let ours = |one: &Owned| match &one.revision {
            Some(_) => of_revision(one),
            None => alone && one.component == "base" && one.id.kind != "CustomResourceDefinition",
        };
        let wanted = |id: &ObjectId| self.steps().any(|step| step.id.is_same(id));
        let left = owned
            .into_iter()
            .filter(|one| ours(one) && !wanted(&one.id));
        let mut left: Vec<ObjectId> = left.map(|one| one.id).collect();
        record::sort_for_removal(&mut left);
        left
    }

    /// All steps, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.components
            .iter()
            .flat_map(|component| &component.steps)
    }

    /// Whether the cluster is as wanted already.
    pub(crate) fn is_empty(&self) -> bool {
        self.prune.is_empty() && self.steps().all(|step| step.action == Action::Keep)
    }

    /// Whether objects that exist would change or go.
    pub(crate) fn changes_something_there(&self) -> bool {
        let mut steps = self.steps();
        !self.prune.is_empty() || steps.any(|step| matches!(step.action, Action::Change(_)))
    }

    /// Whether a control plane begins to inject pods.
    pub(crate) fn begins_injection(&self) -> bool {
        self.steps().any(|step| {
            step.id.kind == "MutatingWebhookConfiguration" && step.action == Action::Create
        })
    }

    /// `57 objects to create, 2 to change, 1 to delete`.
    pub(crate) fn summary(&self) -> String {
        let count =
            |wanted: fn(&Action) -> bool| self.steps().filter(|step| wanted(&step.action)).count();
        let counts = [
            (count(|action| *action == Action::Create), "to create"),
            (
                count(|action| matches!(action, Action::Change(_))),
                "to change",
            ),
            (self.prune.len(), "to delete"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match counts.is_empty() {
            true => "nothing to change".to_owned(),
            false => format!("objects: {}", counts.join(", ")),
        }
    }

    /// Prints a line per object that is not as wanted, and the fields in which it differs.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        for component in &self.components {
            for step in &component.steps {
                match &step.action {
                    Action::Keep => {}
                    Action::Create => output::line(&format!("{} {}", "create".green(), step.id))?,
                    Action::Change(fields) => {
                        output::line(&format!("{} {}", "change".yellow(), step.id))?;
                        output::line(&format!("  {}", fields.join("\n  ")))?;
                    }
                }
            }
        }
        let prune = self.prune.iter();
        prune
            .into_iter()
            .try_for_each(|id| output::line(&format!("{} {id}", "delete".red())))
    }
}

/// Takes out of `components` those that are another revision's, such as a gateway that both want:
/// they stay as they are. Returns their titles, each with the revision that has it.
pub(crate) async fn leave_others(
    cluster: &Cluster,
    components: &mut Vec<Component>,
    place: &Place,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut left = Vec::new();
    for component in std::mem::take(components) {
        let ids = component.objects.iter().map(ObjectId::of);
        let live = cluster
            .get_all(&ids.collect::<anyhow::Result<Vec<_>>>()?)
            .await?;
        let other = live
            .iter()
            .find_map(|live| match owner(live.as_ref(), &place.revision) {
                Owner::Revision(other) => Some(other),
                _ => None,
            });
        match other {
            Some(other) => left.push((component.title, other)),
            None => components.push(component),
        }
    }
    Ok(left)
}

/// Asks the API server by a dry run what applying each object would change.
async fn compare(
    cluster: &Cluster,
    objects: Vec<(ObjectId, Value, Option<Value>)>,
) -> anyhow::Result<Vec<Step>> {
    let there = objects.iter().filter(|(_, _, live)| live.is_some());
    let dry = cluster
        .apply_all(there.map(|(_, object, _)| object), Apply::DryRun)
        .await?;
    let mut dry = dry.into_iter();
    let steps = objects.into_iter().map(|(id, object, live)| {
        let action = match live {
            None => Action::Create,
            Some(live) => match changes(&live, &dry.next().unwrap_or_default()) {
                none if none.is_empty() => Action::Keep,
                fields => Action::Change(fields),
            },
        };
        Step { id, object, action }
    });
    Ok(steps.collect())
}

fn owner(live: Option<&Value>, revision: &str) -> Owner {
    let Some(live) = live else {
        return Owner::Nobody;
    };
    let labels = &live["metadata"]["labels"];
    if labels[COMPONENT].is_null() {
        let by_label = labels["app.kubernetes.io/managed-by"].as_str();
        let managers = items(&live["metadata"]["managedFields"]);
        let by_field = managers.first().map(|first| text(first, "manager"));
        return Owner::Foreign(by_label.or(by_field).unwrap_or("somebody").to_owned());
    }
    match labels[REVISION].as_str() {
        Some(other) if other != revision => Owner::Revision(other.to_owned()),
        _ => Owner::Us,
    }
}

/// What stands in the way, and the ways out.
fn refusal(in_the_way: &[(ObjectId, String)]) -> String {
    let lines = in_the_way
        .iter()
        .map(|(id, whose)| format!("  {id} (made by {whose})"));
    let lines: Vec<String> = lines.collect();
    let definitions = in_the_way
        .iter()
        .all(|(id, _)| id.kind == "CustomResourceDefinition");
    let ways = if definitions {
        "Use those definitions as they are with --set base.enabled=false, or let meshctl bring them \
         to its version and own them from now on with --take-over"
    } else {
        "Remove them with what made them, install beside them with --revision NAME (and \
         --set base.enabled=false, to share the definitions), or let meshctl change and own them \
         from now on with --take-over"
    };
    format!(
        "{} objects are there already that meshctl did not install, as by an Istio of another origin:\n{}\n{ways}",
        in_the_way.len(),
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_tell_whose_an_object_is() {
        let with = |labels: Value| json!({"metadata": {"labels": labels}});
        let whose = |labels: Value| owner(Some(&with(labels)), "default");
        assert_eq!(owner(None, "default"), Owner::Nobody);
        assert_eq!(whose(json!({COMPONENT: "base"})), Owner::Us);
        assert_eq!(
            whose(json!({COMPONENT: "x", REVISION: "default"})),
            Owner::Us
        );
        assert_eq!(
            whose(json!({COMPONENT: "x", REVISION: "b"})),
            Owner::Revision("b".to_owned())
        );
        let helm = json!({"app.kubernetes.io/managed-by": "Helm"});
        assert_eq!(whose(helm), Owner::Foreign("Helm".to_owned()));
        let by_hand = json!({"metadata": {"managedFields": [{"manager": "kubectl"}]}});
        assert_eq!(
            owner(Some(&by_hand), "default"),
            Owner::Foreign("kubectl".to_owned())
        );
    }

    #[test]
    fn what_is_not_wanted_goes_in_an_order_that_disturbs_nobody() {
        let lines = [
            "v1 ServiceAccount a/istiod",
            "apps/v1 Deployment a/istiod",
            "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration istio-validator-a",
            "v1 Service a/istiod",
        ];
        let owned = lines.map(|line| Owned {
            id: line.parse().unwrap(),
            revision: Some("default".to_owned()),
            mesh: Some("a".to_owned()),
            component: "control-plane".to_owned(),
        });
        let place = Place {
            namespace: "a".to_owned(),
            revision: "default".to_owned(),
            charts: None,
            kube_version: None,
            armed: false,
        };
        let plan = Plan {
            components: Vec::new(),
            prune: Vec::new(),
        };
        let prune = plan.unwanted(owned.to_vec(), &place);
        let kinds: Vec<&str> = prune.iter().map(|id| id.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "ValidatingWebhookConfiguration",
                "Deployment",
                "Service",
                "ServiceAccount"
            ]
        );
    }

    #[test]
    fn a_refusal_names_every_object_and_the_way_out() {
        let id = |line: &str| (line.parse::<ObjectId>().unwrap(), "Helm".to_owned());
        let crd = "apiextensions.k8s.io/v1 CustomResourceDefinition a.networking.istio.io";
        let text = refusal(&[id(crd)]);
        assert!(text.contains("CustomResourceDefinition a.networking.istio.io (made by Helm)"));
        assert!(text.contains("base.enabled=false"), "{text}");
        assert!(!text.contains("--revision"), "{text}");
        let text = refusal(&[id(crd), id("apps/v1 Deployment istio-system/istiod")]);
        assert!(text.contains("--revision NAME"), "{text}");
    }
}
