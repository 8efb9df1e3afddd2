//! Gateways that no pod serves, and credentials of theirs that cannot be used.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{
    Labels, Object,
    gateway::Gateway,
    tls::{ServerCredential, ServerTls, TerminationMode},
};

use super::problem;
use crate::snapshot::{Problem, Snapshot};
use crate::translate::{InPlace, lacks_client_authority, secret_problem};

/// Collects them.
pub(super) fn find(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let pods = &snapshot.inputs().pods;
    // Before the first pod is known nothing can be said of any.
    if pods.is_empty() {
        return;
    }
    // Most Gateways have one of a few selectors: the pods are looked through once for each.
    let mut found: BTreeMap<&Labels, BTreeSet<&str>> = BTreeMap::new();
    for gateway in &snapshot.rules.gateways {
        let selector = &gateway.spec.selector;
        let namespaces = found.entry(selector.labels()).or_insert_with(|| {
            let selected = pods.iter().filter(|pod| selector.matches(&pod.labels));
            selected.map(|pod| pod.namespace.as_str()).collect()
        });
        if namespaces.is_empty() {
            problems.push(unserved(gateway));
        }
        for namespace in &*namespaces {
            credentials(snapshot, gateway, namespace, problems);
        }
    }
}

fn unserved(gateway: &Object<Gateway>) -> Problem {
    let labels = gateway.spec.selector.labels().iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    problem(
        "Gateway",
        &gateway.meta,
        "spec.selector".to_owned(),
        format!(
            "no pod has the labels {}: nothing serves its hosts",
            labels.join(",")
        ),
        "write labels of the pods of a gateway (the ingress gateway's are istio=ingressgateway), or start one",
    )
}

/// Credentials that are missing or broken in `namespace`: that of the gateway's pods, which read
/// no other.
fn credentials(
    snapshot: &Snapshot,
    gateway: &Object<Gateway>,
    namespace: &str,
    problems: &mut Vec<Problem>,
) {
    let find = |name: &str| {
        let key = (namespace.to_owned(), name.to_owned());
        snapshot.secrets.get(&key)
    };
    for (index, server) in gateway.spec.servers.iter().enumerate() {
        let Some(ServerTls::Terminate(tls)) = &server.tls else {
            continue;
        };
        let (credential, mutual) = match &tls.mode {
            TerminationMode::Simple(credential) => (credential, false),
            TerminationMode::Mutual { credential, .. } => (credential, true),
            TerminationMode::IstioMutual => continue,
        };
        let ServerCredential::Secrets(names) = credential else {
            continue;
        };
        let mut report = |message: String, remedy: &str| {
            let field = format!("spec.servers[{index}].tls.credentialName");
            problems.push(problem("Gateway", &gateway.meta, field, message, remedy));
        };
        for name in names.iter().filter(|name| find(name).is_none()) {
            report(
                format!(
                    "secret {name} does not exist in namespace {namespace}, that of the gateway's pods: \
                     TLS for the server's hosts is refused"
                ),
                "create the TLS secret in the namespace of the gateway's pods",
            );
        }
        if let Some(name) = names.first()
            && mutual
            && find(name).is_some()
            && lacks_client_authority(name, find)
        {
            report(
                format!(
                    "neither secret {name} nor {name}-cacert in namespace {namespace} holds the CA of the \
                     clients' certificates: TLS for the server's hosts is refused"
                ),
                "add the CA to the secret as ca.crt, or use mode SIMPLE",
            );
        }
        problems.extend(names.iter().filter_map(|name| {
            let key = (namespace.to_owned(), name.clone());
            match snapshot.broken_secrets.get(&key) {
                Some(secret) => secret_problem(secret, InPlace::LastGood),
                None => secret_problem(find(name)?, InPlace::Nothing),
            }
        }));
    }
}
