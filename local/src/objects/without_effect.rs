//! Fields that the platform takes and that change nothing here: named in a note, so that nobody
//! believes a limit or a rule to be in force.
//!
//! Every field that is not known to have an effect is named, except those whose absence nobody
//! can notice on one machine without images and without upgrades of the platform.

use serde_json::Value;

const DEPLOYMENT: Fields = Fields(&[
    "replicas",
    "selector",
    "template",
    "strategy",
    "minReadySeconds",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
]);
const POD: Fields = Fields(&[
    "containers",
    "initContainers",
    "volumes",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "hostname",
    "subdomain",
    "hostAliases",
    "enableServiceLinks",
    "securityContext",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "imagePullSecrets",
    "schedulerName",
]);
const POD_SECURITY: Fields = Fields(&[
    "runAsUser",
    "runAsGroup",
    "fsGroup",
    "fsGroupChangePolicy",
    "supplementalGroups",
]);
const CONTAINER: Fields = Fields(&[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "env",
    "envFrom",
    "volumeMounts",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "securityContext",
    "restartPolicy",
    "imagePullPolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
]);
// The host's files are read-only in every container.
const CONTAINER_SECURITY: Fields = Fields(&[
    "runAsUser",
    "runAsGroup",
    "privileged",
    "capabilities",
    "readOnlyRootFilesystem",
]);
const PROBE: Fields = Fields(&[
    "httpGet",
    "tcpSocket",
    "grpc",
    "exec",
    "initialDelaySeconds",
    "periodSeconds",
    "timeoutSeconds",
    "successThreshold",
    "failureThreshold",
]);
const LIFECYCLE: Fields = Fields(&["postStart", "preStop"]);
// Addresses are IPv4, and every endpoint is on this node.
const SERVICE: Fields = Fields(&[
    "type",
    "selector",
    "ports",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
    "allocateLoadBalancerNodePorts",
    "trafficDistribution",
]);

/// Field names that need no note.
struct Fields(&'static [&'static str]);

impl Fields {
    fn check(&self, value: &Value, path: &str, found: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            if !self.0.contains(&name.as_str()) && !is_default(name, value) {
                found.push(format!("{path}.{name}"));
            }
        }
    }
}

/// Values that say what happens anyway.
fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set && name != "allowPrivilegeEscalation",
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => name == "dnsPolicy" && text == "ClusterFirst",
        Value::Number(_) => false,
    }
}

/// Paths of the fields of an object of this `kind` that have no effect, in the order of the text.
pub(super) fn fields(kind: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let spec = &object["spec"];
    match kind {
        "Deployment" => {
            DEPLOYMENT.check(spec, "spec", &mut found);
            pod(&spec["template"]["spec"], "spec.template.spec", &mut found);
        }
        "Pod" => pod(spec, "spec", &mut found),
        "Service" => SERVICE.check(spec, "spec", &mut found),
        _ => {}
    }
    found
}

fn pod(spec: &Value, path: &str, found: &mut Vec<String>) {
    POD.check(spec, path, found);
    let security = format!("{path}.securityContext");
    POD_SECURITY.check(&spec["securityContext"], &security, found);
    for list in ["initContainers", "containers"] {
        let containers = spec[list].as_array().into_iter().flatten();
        for (index, container) in containers.enumerate() {
            self::container(container, &format!("{path}.{list}[{index}]"), found);
        }
    }
}

fn container(container: &Value, path: &str, found: &mut Vec<String>) {
    CONTAINER.check(container, path, found);
    let parts = [
        ("securityContext", CONTAINER_SECURITY),
        ("lifecycle", LIFECYCLE),
        ("livenessProbe", PROBE),
        ("readinessProbe", PROBE),
        ("startupProbe", PROBE),
    ];
    for (name, fields) in parts {
        fields.check(&container[name], &format!("{path}.{name}"), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_without_effect_are_named_by_their_paths() {
        let object = json!({"spec": {"template": {"spec": {
            "affinity": {"podAntiAffinity": {}},
            "tolerations": [{"operator": "Exists"}],
            "readinessGates": [{"conditionType": "x"}],
            "securityContext": {"runAsUser": 1, "runAsNonRoot": true},
            "containers": [{"name": "a", "image": "a",
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 3},
                "securityContext": {"allowPrivilegeEscalation": false}}],
        }}}});
        let pod = "spec.template.spec";
        let expected = [
            "affinity",
            "readinessGates",
            "tolerations",
            "securityContext.runAsNonRoot",
            "containers[0].resources",
            "containers[0].securityContext.allowPrivilegeEscalation",
            "containers[0].livenessProbe.terminationGracePeriodSeconds",
        ];
        let expected: Vec<String> = expected.map(|name| format!("{pod}.{name}")).into();
        assert_eq!(fields("Deployment", &object), expected);
    }

    #[test]
    fn what_ordinary_manifests_have_earns_no_note() {
        let object = json!({"spec": {"replicas": 1, "revisionHistoryLimit": 3, "paused": false,
            "template": {"spec": {"dnsPolicy": "ClusterFirst", "nodeSelector": {},
                "containers": [{"name": "a", "image": "a", "imagePullPolicy": "IfNotPresent",
                    "resources": {}, "terminationMessagePath": "/dev/termination-log"}]}}}});
        assert!(fields("Deployment", &object).is_empty());
        let service = json!({"spec": {"ports": [{"port": 1}], "externalTrafficPolicy": "Cluster"}});
        assert!(fields("Service", &service).is_empty());
        let service = json!({"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}});
        assert_eq!(
            fields("Service", &service),
            ["spec.loadBalancerSourceRanges"]
        );
    }
}
