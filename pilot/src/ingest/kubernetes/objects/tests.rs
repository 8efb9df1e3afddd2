//! What a server tells, and what the store is told.

use serde_json::json;

use super::*;

fn settings(revision: &str) -> Settings {
    Settings {
        revision: revision.to_owned(),
        ..Settings::default()
    }
}

fn objects(kind: &'static str) -> Objects {
    Objects::new(kind, settings("default"), Observed::default())
}

fn rule(name: &str, weight: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1", "uid": name,
                     "generation": 3, "managedFields": []},
        "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": name}, "weight": weight}]}]},
    })
}

fn list(items: impl IntoIterator<Item = Value>) -> Vec<Told> {
    let items = items.into_iter().map(Told::Set);
    [Told::Listing]
        .into_iter()
        .chain(items)
        .chain([Told::Listed])
        .collect()
}

/// `+namespace/name` for what is set, `-namespace/name` for what is deleted.
fn events(outcome: &Outcome) -> Vec<String> {
    let one = |event: &Event| match event {
        Event::Set(key, _) => format!("+{}/{}", key.namespace, key.name),
        Event::Delete(key) => format!("-{}/{}", key.namespace, key.name),
    };
    outcome.batch.events.iter().map(one).collect()
}

#[test]
fn a_new_list_deletes_what_vanished_meanwhile_and_nothing_else() {
    let mut objects = objects("VirtualService");
    let first = objects.apply(list(["a", "b", "c"].map(|name| rule(name, json!(1)))));
    assert_eq!(events(&first), ["+shop/a", "+shop/b", "+shop/c"]);
    assert!(first.listed);
    let gone = objects.apply(vec![Told::Gone(rule("c", json!(1)))]);
    assert_eq!(events(&gone), ["-shop/c"]);
    // The stream broke, the version expired, and meanwhile b went and d came.
    let again = objects.apply(list(["a", "d"].map(|name| rule(name, json!(1)))));
    assert_eq!(events(&again), ["+shop/a", "+shop/d", "-shop/b"]);
    let happened = [Happened::Update, Happened::Add, Happened::Delete];
    assert_eq!(again.happened, happened);
    assert!(again.listed);
}

#[test]
fn a_list_that_broke_off_deletes_nothing() {
    let mut objects = objects("VirtualService");
    objects.apply(list(["a", "b"].map(|name| rule(name, json!(1)))));
    objects.apply(vec![Told::Listing, Told::Set(rule("a", json!(1)))]);
    let whole = objects.apply(list(["a", "b"].map(|name| rule(name, json!(1)))));
    assert_eq!(events(&whole), ["+shop/a", "+shop/b"]);
}

#[test]
fn a_bad_object_is_a_problem_of_that_object_and_its_last_good_version_stays() {
    let mut objects = objects("VirtualService");
    objects.apply(list(["a", "b"].map(|name| rule(name, json!(1)))));
    let bad = objects.apply(vec![
        Told::Set(rule("a", json!("many"))),
        Told::Set(rule("b", json!(2))),
    ]);
    assert_eq!(events(&bad), ["+shop/b"]);
    let (place, problems) = &bad.batch.problems[0];
    assert_eq!(place, "VirtualService shop/a");
    assert_eq!(problems[0].object, "VirtualService shop/a");
    assert_eq!(problems[0].field, "spec.http[0].route[0].weight");
    // It is there: a new list that holds it takes nothing away.
    let again = objects.apply(list([rule("a", json!("many")), rule("b", json!(2))]));
    assert_eq!(events(&again), ["+shop/b"]);
    let mended = objects.apply(vec![Told::Set(rule("a", json!(3)))]);
    assert_eq!(events(&mended), ["+shop/a"]);
    assert_eq!(
        mended.batch.problems,
        [("VirtualService shop/a".to_owned(), Vec::new())]
    );
}

#[test]
fn a_bad_object_that_goes_takes_its_problem_along() {
    let mut objects = objects("VirtualService");
    objects.apply(list([rule("a", json!("many"))]));
    let gone = objects.apply(list([]));
    assert_eq!(events(&gone), Vec::<String>::new());
    assert_eq!(
        gone.batch.problems,
        [("VirtualService shop/a".to_owned(), Vec::new())]
    );
}

#[test]
fn mesh_resources_of_another_revision_are_not_ours() {
    let labelled = |revision: &str| {
        let mut object = rule("a", json!(1));
        object["metadata"]["labels"] = json!({"istio.io/rev": revision});
        object
    };
    let mut objects = objects("VirtualService");
    assert_eq!(
        events(&objects.apply(list([labelled("default")]))),
        ["+shop/a"]
    );
    // Handed over to another control plane.
    assert_eq!(
        events(&objects.apply(vec![Told::Set(labelled("canary"))])),
        ["-shop/a"]
    );
    let mut all = Objects::new("VirtualService", settings(""), Observed::default());
    assert_eq!(events(&all.apply(list([labelled("canary")]))), ["+shop/a"]);
}

#[test]
fn the_revision_label_of_a_pod_is_for_injection_only() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "shop", "labels": {"istio.io/rev": "canary"}},
        "spec": {"containers": [{"name": "app"}]},
    });
    assert_eq!(events(&objects("Pod").apply(list([pod]))), ["+shop/a"]);
}

#[test]
fn what_finishes_is_gone() {
    let pod = |phase: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"containers": [{"name": "app"}]},
            "status": {"phase": phase, "podIP": "10.0.0.1"},
        })
    };
    let mut objects = objects("Pod");
    objects.apply(list([pod("Running")]));
    let finished = objects.apply(vec![Told::Set(pod("Succeeded"))]);
    assert_eq!(events(&finished), ["-shop/a"]);
}

#[test]
fn the_status_of_mesh_resources_is_observed_and_of_others_only_in_trouble() {
    let observed = Observed::default();
    let mut rules = Objects::new("VirtualService", settings(""), observed.clone());
    rules.apply(list([rule("a", json!(1)), rule("b", json!("many"))]));
    let service = |port: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "shop"},
               "spec": {"ports": [{"port": port}]}})
    };
    let mut services = Objects::new("Service", settings(""), observed.clone());
    services.apply(list([service(json!(80))]));
    let names = |observed: &Observed| -> Vec<String> {
        observed
            .list()
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect()
    };
    assert_eq!(
        names(&observed),
        ["VirtualService shop/a", "VirtualService shop/b"]
    );
    services.apply(vec![Told::Set(service(json!("http")))]);
    assert_eq!(names(&observed)[0], "Service shop/a");
    rules.clear();
    assert_eq!(names(&observed), ["Service shop/a"]);
}
