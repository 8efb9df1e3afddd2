//! The environment of a container, and `$(NAME)` in values, commands and arguments.
//!
//! Pure: ConfigMaps, Secrets and the pod's own fields come in as [`Lookup`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource};

/// Where values that refer to something else come from.
pub(crate) trait Lookup {
    /// The data of a ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, String>>;
    /// The data of a Secret of the pod's namespace, as text.
    fn secret(&self, name: &str) -> Option<BTreeMap<String, String>>;
    /// A field of the pod (`metadata.name`, `status.podIP`); the error says what is wrong with the path.
    fn field(&self, path: &str) -> Result<String, String>;
    /// A resource figure (`limits.cpu`) of a container of the pod, divided by `divisor`.
    fn resource(&self, container: &str, resource: &str, divisor: &str) -> Result<String, String>;
}

/// Replaces `$(NAME)` by the variable's value. `$$` is a literal dollar sign; a name that isn't
/// known stays as it is written.
///
/// Source: Kubernetes `third_party/forked/golang/expansion`.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(stripped) = after.strip_prefix('$') {
            out.push('$');
            rest = stripped;
        } else if let Some((name, tail)) = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// The variables of `container`: `services` (the Kubernetes service variables) first, then
/// `envFrom`, then `env`; a later one wins.
///
/// # Errors
/// What is missing (a ConfigMap, a Secret, a key of one) or malformed, in one line.
pub(crate) fn build(
    container: &Container,
    services: &BTreeMap<String, String>,
    lookup: &impl Lookup,
) -> Result<BTreeMap<String, String>, String> {
    let mut variables = services.clone();
    for source in container.env_from.iter().flatten() {
        variables.extend(from_source(source, lookup)?);
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(variable, &container.name, &variables, lookup)? {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

fn from_source(
    source: &EnvFromSource,
    lookup: &impl Lookup,
) -> Result<BTreeMap<String, String>, String> {
    let (data, what, optional) = if let Some(reference) = &source.config_map_ref {
        let data = lookup.config_map(&reference.name);
        (
            data,
            format!("ConfigMap {}", reference.name),
            reference.optional,
        )
    } else if let Some(reference) = &source.secret_ref {
        let data = lookup.secret(&reference.name);
        (
            data,
            format!("Secret {}", reference.name),
            reference.optional,
        )
    } else {
        return Err("envFrom needs configMapRef or secretRef".to_owned());
    };
    let prefix = source.prefix.as_deref().unwrap_or_default();
    match data {
        Some(data) => Ok(data
            .into_iter()
            .map(|(key, value)| (format!("{prefix}{key}"), value))
            .collect()),
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => Err(format!("{what} does not exist (envFrom)")),
    }
}

fn value_of(
    variable: &EnvVar,
    container: &str,
    variables: &BTreeMap<String, String>,
    lookup: &impl Lookup,
) -> Result<Option<String>, String> {
    match &variable.value_from {
        None => Ok(Some(expand(
            variable.value.as_deref().unwrap_or_default(),
            variables,
        ))),
        Some(source) => referred(source, container, lookup)
            .map_err(|problem| format!("{problem} (env {})", variable.name)),
    }
}

fn referred(
    source: &EnvVarSource,
    container: &str,
    lookup: &impl Lookup,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return lookup.field(&field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let divisor = resource
            .divisor
            .as_ref()
            .map_or("1", |divisor| divisor.0.as_str());
        let container = resource.container_name.as_deref().unwrap_or(container);
        return lookup
            .resource(container, &resource.resource, divisor)
            .map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        let data = lookup.config_map(&key.name);
        return pick(
            data,
            &key.key,
            &format!("ConfigMap {}", key.name),
            key.optional,
        );
    }
    if let Some(key) = &source.secret_key_ref {
        let data = lookup.secret(&key.name);
        return pick(
            data,
            &key.key,
            &format!("Secret {}", key.name),
            key.optional,
        );
    }
    Err("valueFrom needs fieldRef, resourceFieldRef, configMapKeyRef or secretKeyRef".to_owned())
}

fn pick(
    data: Option<BTreeMap<String, String>>,
    key: &str,
    what: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let missing = if data.is_none() {
        format!("{what} does not exist")
    } else {
        format!("{what} has no key {key}")
    };
    match data.and_then(|mut data| data.remove(key)) {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None => Err(missing),
    }
}

#[cfg(test)]
mod tests;
