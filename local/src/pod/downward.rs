//! The downward API: a pod's own fields and its containers' resources as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod};

/// What a pod may ask about the machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// `spec.nodeName`.
    pub(crate) name: String,
    /// `status.hostIP`.
    pub(crate) address: IpAddr,
    /// Processors, for containers without a limit.
    pub(crate) cpus: u64,
    /// Memory in bytes, for containers without a limit.
    pub(crate) memory_bytes: u64,
}

/// A field by its path. `address`: of the pod.
///
/// # Errors
/// The path, if the downward API has no such field.
pub(crate) fn field(
    pod: &Pod,
    machine: &Machine,
    address: Option<IpAddr>,
    path: &str,
) -> Result<String, String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => Ok(lines(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines(metadata.annotations.as_ref())),
        "spec.nodeName" => Ok(machine.name.clone()),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => Ok(machine.address.to_string()),
        "status.podIP" | "status.podIPs" => Ok(address
            .map(|address| address.to_string())
            .unwrap_or_default()),
        _ => keyed(path, "metadata.labels", metadata.labels.as_ref())
            .or_else(|| keyed(path, "metadata.annotations", metadata.annotations.as_ref()))
            .ok_or_else(|| format!("fieldPath {path} is not one of the downward API")),
    }
}

fn keyed(path: &str, prefix: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path
        .strip_prefix(prefix)?
        .strip_prefix("['")?
        .strip_suffix("']")?;
    Some(
        map.and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default(),
    )
}

/// `key="value"` lines, the value quoted as Go quotes it.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in map.into_iter().flatten() {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{key}={}", serde_json::Value::from(value.as_str()));
    }
    text
}

/// A resource figure such as `limits.cpu`, divided by `divisor` and rounded up.
///
/// # Errors
/// The resource or quantity that cannot be understood.
pub(crate) fn resource(
    pod: &Pod,
    machine: &Machine,
    container: &str,
    resource: &str,
    divisor: &str,
) -> Result<String, String> {
    let container = containers(pod)
        .find(|candidate| candidate.name == container)
        .ok_or_else(|| format!("resourceFieldRef names no container {container}"))?;
    let (kind, name) = resource
        .split_once('.')
        .ok_or_else(|| format!("resource {resource}: write limits.cpu, requests.memory, ..."))?;
    let resources = container.resources.as_ref();
    let map = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(format!("resource {resource}: neither limits nor requests")),
    };
    let written = map
        .and_then(|map| map.get(name))
        .map(|quantity| quantity.0.as_str());
    let thousandths = match (written, kind, name) {
        (Some(written), _, _) => thousandths(written)?,
        (None, "limits", "cpu") => u128::from(machine.cpus) * 1000,
        (None, "limits", "memory") => u128::from(machine.memory_bytes) * 1000,
        (None, _, _) => 0,
    };
    let divisor = thousandths_of_divisor(divisor)?;
    Ok(thousandths.div_ceil(divisor).to_string())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    })
}

fn thousandths_of_divisor(divisor: &str) -> Result<u128, String> {
    // Kubernetes writes "0" for a divisor that isn't given.
    match thousandths(divisor)? {
        0 => Ok(1000),
        divisor => Ok(divisor),
    }
}

/// A Kubernetes quantity (`250m`, `1.5`, `64Mi`) in thousandths.
fn thousandths(text: &str) -> Result<u128, String> {
    let bad = || format!("quantity {text:?}: write a number with m, k, M, G, Ki, Mi or Gi");
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let scale: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let mut value = whole.checked_mul(scale).ok_or_else(bad)?;
    if !fraction.is_empty() && fraction.len() <= 9 {
        let digits: u128 = fraction.parse().map_err(|_| bad())?;
        let power = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
        value += (digits * scale).div_ceil(power);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fixture() -> (Pod, Machine) {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u",
                "labels": {"app": "web", "a/b": "c"}, "annotations": {"note": "two \"words\"\n"}},
            "spec": {"serviceAccountName": "web", "containers": [
                {"name": "app", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}]},
        }))
        .unwrap();
        let machine = Machine {
            name: "local".to_owned(),
            address: [10, 244, 0, 1].into(),
            cpus: 2,
            memory_bytes: 1 << 30,
        };
        (pod, machine)
    }

    #[test]
    fn fields_of_a_pod() {
        let (pod, machine) = fixture();
        for (path, expected) in [
            ("metadata.name", "web-1"),
            ("metadata.labels['a/b']", "c"),
            ("metadata.annotations['none']", ""),
            ("metadata.labels", "a/b=\"c\"\napp=\"web\""),
            ("metadata.annotations", "note=\"two \\\"words\\\"\\n\""),
            ("spec.nodeName", "local"),
            ("status.podIP", "10.244.0.9"),
            ("status.hostIP", "10.244.0.1"),
        ] {
            let address = Some([10, 244, 0, 9].into());
            assert_eq!(
                field(&pod, &machine, address, path).unwrap(),
                expected,
                "{path}"
            );
        }
        assert!(field(&pod, &machine, None, "spec.hostNetwork").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let (pod, machine) = fixture();
        for (name, divisor, expected) in [
            ("limits.cpu", "1", "1"),
            ("limits.cpu", "1m", "250"),
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "0", "67108864"),
            ("requests.cpu", "1", "0"),
        ] {
            assert_eq!(
                resource(&pod, &machine, "app", name, divisor).unwrap(),
                expected
            );
        }
        assert_eq!(thousandths("1.5").unwrap(), 1500);
        assert!(thousandths("x").is_err());
    }
}
