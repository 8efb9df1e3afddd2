//! What an installation would share with one in another namespace.
//!
//! Two meshes in one cluster have different revisions: by the revision a namespace chooses its
//! injector, and a resource its validator. So a revision has one namespace, which is found out
//! before anything changes.

use super::manifest::{Component, Place, REVISION};
use super::record::{Owned, homes};
use crate::cluster::ObjectId;

/// Why `components` can't be installed at `place` beside what is in other namespaces, and the ways
/// out; `None` if they can.
///
/// # Errors
/// If a component has an object without a name.
pub(crate) fn conflict(
    owned: &[Owned],
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Option<String>> {
    let (revision, namespace) = (&place.revision, &place.namespace);
    if let Some(other) = homes(owned, revision).iter().find(|one| *one != namespace) {
        return Ok(Some(format!(
            "revision {revision} is installed in {other}: use -i {other}, or another --revision for a second mesh in {namespace} \
             (meshctl uninstall --revision {revision} -i {other} removes the first)"
        )));
    }
    let objects = components.iter().flat_map(|component| &component.objects);
    let of_the_cluster = objects.filter(|object| {
        object["metadata"]["namespace"].is_null()
            && object["metadata"]["labels"][REVISION].is_string()
    });
    for object in of_the_cluster {
        let id = ObjectId::of(object)?;
        let same = owned.iter().find(|one| one.id.is_same(&id));
        // A name is made of revision and namespace: with dashes in them, two pairs may make one.
        if let Some(other) = same.and_then(|one| one.revision.as_ref())
            && other != revision
        {
            return Ok(Some(format!(
                "{id} is revision {other}'s already: use another --revision than {revision}, or another namespace"
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(line: &str, revision: &str, mesh: Option<&str>) -> Owned {
        Owned {
            id: line.parse().unwrap(),
            revision: Some(revision.to_owned()),
            mesh: mesh.map(str::to_owned),
            component: "control-plane".to_owned(),
        }
    }

    fn told(owned: &[Owned], revision: &str, namespace: &str) -> Option<String> {
        let place = Place {
            namespace: namespace.to_owned(),
            revision: revision.to_owned(),
            charts: None,
            kube_version: None,
            armed: false,
        };
        let name = format!("istio-sidecar-injector-{namespace}");
        let injector = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {REVISION: revision}}});
        let component = Component {
            title: "Control plane".to_owned(),
            objects: vec![injector],
        };
        conflict(owned, &[component], &place).unwrap()
    }

    #[test]
    fn a_revision_has_one_namespace() {
        let first = "apps/v1 Deployment istio-system/istiod";
        let first = [owned(first, "default", Some("istio-system"))];
        let text = told(&first, "default", "mesh2").unwrap();
        assert!(
            text.contains("revision default is installed in istio-system: use -i istio-system")
        );
        assert_eq!(told(&first, "default", "istio-system"), None);
        assert_eq!(told(&first, "second", "mesh2"), None);
    }

    #[test]
    fn what_a_deleted_namespace_left_behind_is_in_nobodys_way() {
        let role = "rbac.authorization.k8s.io/v1 ClusterRole istiod-clusterrole-istio-system";
        assert_eq!(
            told(&[owned(role, "default", None)], "default", "mesh2"),
            None
        );
    }

    #[test]
    fn a_name_that_another_revision_has_is_refused() {
        let injector = "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration istio-sidecar-injector-canary";
        let canary = [owned(injector, "canary", Some("istio-system"))];
        let text = told(&canary, "default", "canary").unwrap();
        assert!(text.contains("is revision canary's already"), "{text}");
    }
}
