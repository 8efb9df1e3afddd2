//! Decoding of manifests into mesh resources.
//!
//! YAML or JSON becomes a JSON tree (`yaml.rs`); each kind has a module that reads the tree field
//! by field through `reader.rs`, which reports every wrong, unknown or not implemented field with
//! its path; [`mod@crate::validate`] then checks what spans several fields. An object with any
//! error is refused whole.

pub mod access_log_format;
mod authorization_policy;
mod client_tls;
mod destination_rule;
mod gateway;
mod header;
mod http_action;
mod http_route;
mod mesh_config;
mod nearest;
mod peer_authentication;
mod proxy_config;
mod reader;
mod scope;
mod server_tls;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod virtual_service;
mod workload_entry;
mod yaml;

use std::fmt;

use serde_json::{Map, Value};

use self::header::Header;
pub use self::nearest::nearest;
use self::reader::{Node, Report};
use crate::mesh_config::{MeshConfig, ProxyConfig};
use crate::object::{Kind, Object, ObjectMeta, Resource};

/// Where a document came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// File, or another name of the source (`-` for standard input).
    pub file: String,
    /// Index of the document in the file, from 0.
    pub document: usize,
    /// Line of the file at which the document starts, from 1; 0 if there is no file.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, for example `spec.http[0].route[1].weight`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// An object that was refused, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Where the document came from.
    pub source: Source,
    /// `Kind namespace/name`, as far as it could be read.
    pub object: Option<String>,
    /// At least one.
    pub errors: Vec<FieldError>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.without_source())
    }
}

impl DecodeError {
    /// The same words without the source, for whoever has just sent the object.
    pub fn without_source(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            if let Some(object) = &self.object {
                write!(f, "{object}: ")?;
            }
            for (index, error) in self.errors.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { "\n  also: " })?;
                write!(f, "{error}")?;
            }
            Ok(())
        })
    }
}

impl std::error::Error for DecodeError {}

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per object of configuration, and kept behind an Arc"
)]
pub enum Decoded {
    /// A mesh resource that is valid by itself.
    Mesh(Resource),
    /// An object of another kind, as it is.
    Other(OtherObject),
}

/// An object that is not of a mesh kind.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherObject {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, for example `v1`.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, if the manifest names one.
    pub namespace: Option<String>,
    /// The whole object.
    pub value: Value,
}

/// Decodes all documents of a YAML or JSON text. `List` objects are taken apart; empty
/// documents are skipped. An error is about one object (or one unreadable document) only.
///
/// `file` names the source in errors.
pub fn documents(text: &str, file: &str) -> Vec<Result<Decoded, DecodeError>> {
    let mut decoded = Vec::new();
    for (index, document) in yaml::split(text).into_iter().enumerate() {
        let source = Source {
            file: file.to_owned(),
            document: index,
            line: document.line,
        };
        match yaml::parse(document) {
            Ok(Value::Null) => {}
            Ok(value) => flatten(&value, &source, &mut decoded),
            Err(error) => decoded.push(Err(DecodeError {
                source,
                object: None,
                errors: vec![error],
            })),
        }
    }
    decoded
}

/// Decodes the value, or each item if it is a `List`.
fn flatten(value: &Value, source: &Source, decoded: &mut Vec<Result<Decoded, DecodeError>>) {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match value.get("items") {
        Some(Value::Array(items)) if kind.ends_with("List") => {
            decoded.extend(items.iter().map(|item| object(item, source)));
        }
        _ => decoded.push(object(value, source)),
    }
}

/// Decodes one object that was parsed already (from an API server).
///
/// # Errors
/// Everything that is wrong with the object.
pub fn object(value: &Value, source: &Source) -> Result<Decoded, DecodeError> {
    let report = Report::default();
    let header = header::read(&Node {
        value,
        path: String::new(),
        report: &report,
    });
    let Some(header) = header else {
        return Err(DecodeError {
            source: source.clone(),
            object: None,
            errors: report.into_errors(),
        });
    };
    match Kind::find(&header.group, &header.kind) {
        Some(kind) => mesh_object(kind, header, value, source),
        None => match header::misspelt(&header) {
            None => Ok(Decoded::Other(OtherObject {
                group: header.group,
                version: header.version,
                kind: header.kind,
                name: header.meta.name,
                namespace: header.namespaced.then_some(header.meta.namespace),
                value: value.clone(),
            })),
            Some(error) => Err(DecodeError {
                source: source.clone(),
                object: Some(format!("{} {}", header.kind, header.meta)),
                errors: vec![error],
            }),
        },
    }
}

/// Decodes the spec of a mesh kind and validates the result.
fn mesh_object(
    kind: Kind,
    header: Header,
    value: &Value,
    source: &Source,
) -> Result<Decoded, DecodeError> {
    let name = format!("{kind} {}", header.meta);
    let refuse = |errors| DecodeError {
        source: source.clone(),
        object: Some(name.clone()),
        errors,
    };
    let report = Report::new(&header.meta.namespace);
    if !kind.versions().contains(&header.version.as_str()) {
        let remedy = format!("use {}/v1", kind.group());
        let problem = format!("version {} of {kind} is not known", header.version);
        report.add("apiVersion", problem, remedy);
    }
    for field in value.as_object().into_iter().flat_map(Map::keys) {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
            report.add(
                field,
                "unknown field",
                "did you mean to indent it under spec?",
            );
        }
    }
    let nothing = Value::Object(Map::new());
    let spec = value
        .get("spec")
        .filter(|spec| !spec.is_null())
        .unwrap_or(&nothing);
    let node = Node {
        value: spec,
        path: String::from("spec"),
        report: &report,
    };
    let resource = read(kind, &node, header.meta);
    let errors = report.into_errors();
    match resource {
        Some(resource) if errors.is_empty() => match crate::validate(&resource) {
            Ok(_warnings) => Ok(Decoded::Mesh(resource)),
            Err(errors) => Err(refuse(errors)),
        },
        _ => Err(refuse(errors)),
    }
}

fn read(kind: Kind, spec: &Node<'_>, meta: ObjectMeta) -> Option<Resource> {
    macro_rules! object {
        ($kind:ident, $spec:expr) => {
            $spec.map(|spec| Resource::$kind(Object { meta, spec }))
        };
    }
    match kind {
        Kind::VirtualService => object!(VirtualService, virtual_service::read(spec)),
        Kind::DestinationRule => object!(DestinationRule, destination_rule::read(spec)),
        Kind::Gateway => object!(Gateway, gateway::read(spec)),
        Kind::ServiceEntry => object!(ServiceEntry, service_entry::read(spec)),
        Kind::WorkloadEntry => object!(WorkloadEntry, workload_entry::read(spec)),
        Kind::Sidecar => object!(Sidecar, sidecar::read(spec)),
        Kind::PeerAuthentication => object!(PeerAuthentication, peer_authentication::read(spec)),
        Kind::AuthorizationPolicy => {
            object!(AuthorizationPolicy, authorization_policy::read(spec, &meta))
        }
    }
}

/// Decodes the text of the key `mesh` of ConfigMap `istio`: MeshConfig over the defaults.
///
/// # Errors
/// Everything that is wrong with it.
pub fn mesh_config(text: &str, file: &str) -> Result<MeshConfig, DecodeError> {
    let base = MeshConfig::default();
    settings(text, file, "MeshConfig", &base, |node| {
        mesh_config::read(node, &base)
    })
}

/// Decodes a pod's annotation `proxy.istio.io/config` (YAML or JSON): ProxyConfig over `base`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn proxy_config(
    text: &str,
    base: &ProxyConfig,
    file: &str,
) -> Result<ProxyConfig, DecodeError> {
    settings(text, file, "ProxyConfig", base, |node| {
        proxy_config::read(node, base)
    })
}

/// Reads a text of settings that stand in no Kubernetes object of their own.
fn settings<T: Clone>(
    text: &str,
    file: &str,
    name: &str,
    base: &T,
    read: impl FnOnce(&Node<'_>) -> Option<T>,
) -> Result<T, DecodeError> {
    let source = Source {
        file: file.to_owned(),
        document: 0,
        line: 1,
    };
    let refuse = |errors| DecodeError {
        source: source.clone(),
        object: Some(name.to_owned()),
        errors,
    };
    let parsed = yaml::parse(yaml::Document { line: 1, text });
    let value = parsed.map_err(|error| refuse(vec![error]))?;
    if value.is_null() {
        return Ok(base.clone());
    }
    let report = Report::new("");
    let node = Node {
        value: &value,
        path: String::new(),
        report: &report,
    };
    let found = read(&node);
    let errors = report.into_errors();
    match found {
        Some(found) if errors.is_empty() => Ok(found),
        _ => Err(refuse(errors)),
    }
}

#[cfg(test)]
mod tests;
