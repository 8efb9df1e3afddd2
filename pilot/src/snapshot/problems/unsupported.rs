//! Settings that are valid but have no effect.

use mesh_config::tls::{ClientCertificate, ClientTls, ServerVerification};
use mesh_config::virtual_service::HttpAction;

use super::problem;
use crate::snapshot::{Problem, Snapshot};

/// Collects them.
pub(super) fn find(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    sidecars(snapshot, problems);
    localities(snapshot, problems);
    client_credentials(snapshot, problems);
}

/// What a Sidecar asks for and the mesh does not do.
fn sidecars(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    use mesh_config::sidecar::EgressBind;
    for sidecar in &snapshot.rules.sidecars {
        for (index, egress) in sidecar.spec.egress.iter().enumerate() {
            if let Some(EgressBind::Unix(path)) = &egress.bind {
                problems.push(problem(
                    "Sidecar",
                    &sidecar.meta,
                    format!("spec.egress[{index}].bind"),
                    format!("no listener is made for the Unix socket {path}"),
                    "bind an IP address, or leave bind out",
                ));
            }
        }
    }
}

/// Endpoints have one priority, so that no retry can leave for another.
fn localities(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for rule in &snapshot.rules.virtual_services {
        for (index, route) in rule.object.spec.http.iter().enumerate() {
            let HttpAction::Forward(forward) = &route.action else {
                continue;
            };
            let retries = forward.retries.as_ref();
            if retries.is_some_and(|retries| retries.retry_remote_localities == Some(true)) {
                problems.push(problem(
                    "VirtualService",
                    &rule.object.meta,
                    format!("spec.http[{index}].retries.retryRemoteLocalities"),
                    "has no effect: endpoints of all localities have the same priority".to_owned(),
                    "leave the field out",
                ));
            }
        }
    }
}

/// Sidecars may not read secrets, so that a credential works for gateways only.
fn client_credentials(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for rule in snapshot.rules.destination_rules.iter() {
        let settings = &rule.rule.traffic_policy.settings;
        let names_credential = match &settings.tls {
            Some(ClientTls::Simple(tls)) => {
                matches!(tls.verification, ServerVerification::Credential(_))
            }
            Some(ClientTls::Mutual { certificate, .. }) => {
                matches!(certificate, ClientCertificate::Credential(_))
            }
            _ => false,
        };
        if names_credential && rule.rule.workload_selector.is_none() {
            problems.push(problem(
                "DestinationRule",
                &rule.meta,
                "spec.trafficPolicy.tls.credentialName".to_owned(),
                "sidecars may not read the secret and send plain text instead: only gateways use it".to_owned(),
                "mount the certificate as files, or route through an egress gateway",
            ));
        }
    }
}
