//! A pod that has its proxy and comes again: after the first call another webhook may have added
//! containers (`reinvocationPolicy: IfNeeded`), whose probes and names the proxy has to know, too.

use serde_json::{Map, Value};

use crate::sidecar::{Placement, set_variable};
use crate::{InjectError, PROXY_CONTAINER, pod, probes};

const PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
const CONTAINERS: &str = "ISTIO_META_APP_CONTAINERS";

/// Redirects the probes that still go to their containers, and tells the proxy of all containers.
/// A pod to which nothing was added stays as it is.
///
/// # Errors
/// As [`probes::rewrite`].
pub(crate) fn complete(
    pod: &mut Value,
    placement: Placement,
    rewrite_probes: bool,
    status_port: u16,
) -> Result<(), InjectError> {
    let names = pod::applications(pod).map(pod::name_of);
    let names: Vec<String> = names.map(str::to_owned).collect();
    let added = match rewrite_probes {
        true => probes::rewrite(pod, placement, status_port)?,
        false => Default::default(),
    };
    let Some(env) = proxy_environment(pod) else {
        return Ok(());
    };
    let known = value_of(env, CONTAINERS).unwrap_or_default();
    if names
        .iter()
        .any(|name| !known.split(',').any(|known| known == name))
    {
        let names = names.join(",");
        set_variable(env, CONTAINERS, &names);
    }
    if !added.is_empty() {
        let known = value_of(env, PROBERS).and_then(|text| serde_json::from_str(text).ok());
        let mut probers: Map<String, Value> = known.unwrap_or_default();
        probers.extend(added);
        let text = Value::Object(probers).to_string();
        set_variable(env, PROBERS, &text);
    }
    Ok(())
}

fn value_of<'a>(env: &'a [Value], name: &str) -> Option<&'a str> {
    env.iter().find(|item| item["name"] == name)?["value"].as_str()
}

fn proxy_environment(pod: &mut Value) -> Option<&mut Vec<Value>> {
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let lists = spec
        .iter_mut()
        .filter(|(name, _)| matches!(name.as_str(), "containers" | "initContainers"));
    let mut containers = lists.filter_map(|(_, list)| list.as_array_mut()).flatten();
    let proxy = containers.find(|container| pod::name_of(container) == PROXY_CONTAINER)?;
    proxy.get_mut("env")?.as_array_mut()
}
