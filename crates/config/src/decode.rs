//! Decoding of manifests into mesh resources.

use std::fmt;

use serde_json::Value;

use crate::mesh_config::{MeshConfig, ProxyConfig};
use crate::object::Resource;

/// Where a document came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// File, or another name of the source (`-` for standard input).
    pub file: String,
    /// Index of the document in the file, from 0.
    pub document: usize,
    /// Line of the file at which the document starts, from 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
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
        write!(f, "{}", self.source)?;
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        for (index, error) in self.errors.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "\n  also: " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for DecodeError {}

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq)]
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
/// documents are skipped. An error is about one object only; a text that stops being YAML ends
/// with one error about the rest.
///
/// `file` names the source in errors.
pub fn documents(text: &str, file: &str) -> Vec<Result<Decoded, DecodeError>> {
    let _ = (text, file);
    Vec::new()
}

/// Decodes one object that was parsed already (from an API server).
///
/// # Errors
/// Everything that is wrong with the object.
pub fn object(value: &Value, source: &Source) -> Result<Decoded, DecodeError> {
    let _ = (value, source);
    Err(DecodeError {
        source: source.clone(),
        object: None,
        errors: Vec::new(),
    })
}

/// Decodes the text of the key `mesh` of ConfigMap `istio`: MeshConfig over the defaults.
///
/// # Errors
/// Everything that is wrong with it.
pub fn mesh_config(text: &str, file: &str) -> Result<MeshConfig, DecodeError> {
    let _ = (text, file);
    Ok(MeshConfig::default())
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
    let _ = (text, file);
    Ok(base.clone())
}
