//! The fields of an open object.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Node, Report};
use crate::number::PortNumber;

/// The fields of an open object.
#[derive(Debug)]
pub(in crate::decode) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(in crate::decode) path: String,
    pub(in crate::decode) report: &'a Report,
    known: &'static [&'static str],
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        map: &'a Map<String, Value>,
        node: &Node<'a>,
        known: &'static [&'static str],
    ) -> Self {
        Fields {
            map,
            path: node.path.clone(),
            report: node.report,
            known,
        }
    }

    /// The field, unless absent or null.
    pub(in crate::decode) fn get(&self, name: &str) -> Option<Node<'a>> {
        debug_assert!(
            self.known.contains(&name),
            "{name} is read but not declared known"
        );
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node {
            value,
            path: self.path_of(name),
            report: self.report,
        })
    }

    pub(in crate::decode) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Reports an error about this object.
    pub(in crate::decode) fn error<T>(
        &self,
        problem: impl Display,
        remedy: impl Display,
    ) -> Option<T> {
        self.report.add(&self.path, problem, remedy);
        None
    }

    /// Reports an error about one field.
    pub(in crate::decode) fn error_at<T>(
        &self,
        name: &str,
        problem: impl Display,
        remedy: impl Display,
    ) -> Option<T> {
        self.report.add(&self.path_of(name), problem, remedy);
        None
    }

    /// The field, or an error with `remedy` if it is absent.
    pub(in crate::decode) fn required(&self, name: &str, remedy: &str) -> Option<Node<'a>> {
        self.get(name)
            .or_else(|| self.error_at(name, "required, but missing", remedy))
    }

    /// A string; absent and empty are the same, as in protobuf.
    pub(in crate::decode) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name)?.text()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A string that must be there.
    pub(in crate::decode) fn required_text(&self, name: &str, remedy: &str) -> Option<String> {
        let node = self.required(name, remedy)?;
        let text = node.text()?;
        if text.is_empty() {
            return node.error("must not be empty", remedy);
        }
        Some(text.to_owned())
    }

    /// A string in a form of its own; absent and empty are the same.
    pub(in crate::decode) fn parse<T: FromStr>(&self, name: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let node = self.get(name)?;
        (!node.text()?.is_empty()).then(|| node.parse())?
    }

    pub(in crate::decode) fn flag(&self, name: &str) -> Option<bool> {
        let node = self.get(name)?;
        match node.value {
            Value::Bool(value) => Some(*value),
            _ => node.wrong_type("true or false", ""),
        }
    }

    /// A 32-bit number.
    pub(in crate::decode) fn number(&self, name: &str) -> Option<u32> {
        let value = self.get(name)?.integer(0, u64::from(u32::MAX))?;
        u32::try_from(value).ok()
    }

    /// A number of which 0 means "not set", as in protobuf.
    pub(in crate::decode) fn limit(&self, name: &str) -> Option<u32> {
        // int32 in Istio's API.
        let value = self.get(name)?.integer(0, i32::MAX as u64)?;
        u32::try_from(value).ok().filter(|value| *value > 0)
    }

    /// A port; 0 means "not set", as in protobuf.
    pub(in crate::decode) fn port(&self, name: &str) -> Option<PortNumber> {
        let node = self.get(name)?;
        if node.value.as_u64() == Some(0) {
            return None;
        }
        node.port()
    }

    /// A duration of at least a millisecond.
    pub(in crate::decode) fn duration(&self, name: &str) -> Option<Duration> {
        self.get(name)?.duration(Duration::from_millis(1))
    }

    /// The elements of a list; none if absent.
    pub(in crate::decode) fn items(&self, name: &str) -> Vec<Node<'a>> {
        self.get(name).map(|node| node.items()).unwrap_or_default()
    }

    /// A list of strings, none of them empty.
    pub(in crate::decode) fn texts(&self, name: &str) -> Vec<String> {
        let items = self.items(name).into_iter();
        items
            .filter_map(|node| match node.text()? {
                "" => node.error("must not be empty", "remove it"),
                text => Some(text.to_owned()),
            })
            .collect()
    }

    /// A list of strings in a form of their own.
    pub(in crate::decode) fn parses<T: FromStr>(&self, name: &str) -> Vec<T>
    where
        T::Err: Display,
    {
        self.items(name).iter().filter_map(Node::parse).collect()
    }

    /// A map of strings.
    pub(in crate::decode) fn text_map(&self, name: &str) -> BTreeMap<String, String> {
        let Some(node) = self.get(name) else {
            return BTreeMap::new();
        };
        let entries = node.entries().into_iter();
        entries
            .filter_map(|(key, node)| Some((key.to_owned(), node.text()?.to_owned())))
            .collect()
    }

    /// As [`Node::choice`]; `None` if absent.
    pub(in crate::decode) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        self.get(name)?.choice(words, refused)
    }

    /// The names among `names` that are set.
    pub(in crate::decode) fn present<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let set = |name: &&&str| self.get(name).is_some_and(|node| !is_unset(node.value));
        names.iter().filter(set).copied().collect()
    }

    /// Reports all but the first of `names` that are set, since they exclude each other.
    pub(in crate::decode) fn exclusive(&self, names: &[&str]) {
        let set = self.present(names);
        for other in set.iter().skip(1) {
            self.error_at::<()>(
                other,
                format!("cannot be set together with {}", set[0]),
                format!("keep one of {}", set.join(", ")),
            );
        }
    }

    /// Reports a field whose value is not `only`: the one that is built in.
    pub(in crate::decode) fn fixed(&self, name: &str, only: &Value, remedy: &str) {
        if let Some(node) = self
            .get(name)
            .filter(|node| node.value != only && !is_unset(node.value))
        {
            node.error::<()>(format!("only {only} is implemented yet"), remedy);
        }
    }
}

/// Whether a value says nothing in protobuf's terms: its field could be left out as well.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

/// As [`is_unset`], and an object without fields.
pub(super) fn is_empty(value: &Value) -> bool {
    is_unset(value) || value.as_object().is_some_and(Map::is_empty)
}
