//! Reading of a JSON tree field by field: every wrong field is reported with its path, nothing
//! is dropped silently, and reading goes on after an error so that all are seen at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::FieldError;
use super::nearest::nearest;
use crate::duration;
use crate::number::PortNumber;

/// What goes on while one object is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Namespace of the object, to which `.` and short names refer.
    pub(super) namespace: String,
    errors: RefCell<Vec<FieldError>>,
}

impl Report {
    pub(super) fn new(namespace: &str) -> Self {
        Report {
            namespace: namespace.to_owned(),
            errors: RefCell::default(),
        }
    }

    pub(super) fn add(&self, path: &str, problem: impl Display, remedy: impl Display) {
        self.errors.borrow_mut().push(FieldError {
            path: path.to_owned(),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        });
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors.into_inner()
    }
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    pub(super) report: &'a Report,
}

impl<'a> Node<'a> {
    /// Reports an error about this value; gives `None` so that callers can return it.
    pub(super) fn error<T>(&self, problem: impl Display, remedy: impl Display) -> Option<T> {
        self.report.add(&self.path, problem, remedy);
        None
    }

    fn wrong_type<T>(&self, expected: &str, remedy: &str) -> Option<T> {
        self.error(
            format!("expected {expected}, found {}", describe(self.value)),
            remedy,
        )
    }

    /// Opens an object. `known`: the fields that are read; `refused`: fields of Istio's API that
    /// are not implemented, each with a remedy. Anything else is an unknown field.
    pub(super) fn open(
        &self,
        known: &'static [&'static str],
        refused: &'static [(&'static str, &'static str)],
    ) -> Option<Fields<'a>> {
        let Value::Object(map) = self.value else {
            return self.wrong_type("an object", "");
        };
        let fields = Fields {
            map,
            path: self.path.clone(),
            report: self.report,
            known,
        };
        for (name, value) in map {
            if known.contains(&name.as_str()) {
                continue;
            }
            if let Some((_, remedy)) = refused.iter().find(|(refused, _)| refused == name) {
                if !is_empty(value) {
                    fields.error_at::<()>(name, "not implemented yet", remedy);
                }
                continue;
            }
            let all = known.iter().chain(refused.iter().map(|(name, _)| name));
            let remedy = match nearest(name, all.copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None if known.is_empty() => String::from("remove it"),
                None => format!("known here: {}", known.join(", ")),
            };
            fields.error_at::<()>(name, "unknown field", remedy);
        }
        Some(fields)
    }

    /// A string; empty is allowed.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => self.wrong_type("a string", "put it in quotes"),
            _ => self.wrong_type("a string", ""),
        }
    }

    /// A string in a form of its own.
    pub(super) fn parse<T: FromStr>(&self) -> Option<T>
    where
        T::Err: Display,
    {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.error(error, ""),
        }
    }

    /// A whole number within `min..=max`.
    pub(super) fn integer(&self, min: u64, max: u64) -> Option<u64> {
        let Value::Number(number) = self.value else {
            let remedy = match self.value {
                Value::String(text) if text.parse::<u64>().is_ok() => "remove the quotes",
                _ => "",
            };
            return self.wrong_type("a whole number", remedy);
        };
        match number.as_u64() {
            Some(value) if (min..=max).contains(&value) => Some(value),
            _ => self.error(
                format!("{number} is not a whole number from {min} to {max}"),
                "",
            ),
        }
    }

    /// A port from 1 to 65535.
    pub(super) fn port(&self) -> Option<PortNumber> {
        let number = self.integer(1, 65535)?;
        PortNumber::new(u16::try_from(number).ok()?)
    }

    /// A duration of at least `min`, to the millisecond.
    pub(super) fn duration(&self, min: Duration) -> Option<Duration> {
        let text = match self.value {
            Value::String(text) => text,
            _ => {
                return self.wrong_type(
                    "a duration",
                    "write a number with a unit, for example \"5s\"",
                );
            }
        };
        match duration::parse(text) {
            Err(error) => self.error(error, ""),
            Ok(value) if value < min => self.error(
                format!("{text:?} is shorter than {}", duration::format(min)),
                "",
            ),
            Ok(value) if value.subsec_nanos() % 1_000_000 != 0 => self.error(
                format!("{text:?} is finer than a millisecond"),
                "round it to milliseconds",
            ),
            Ok(value) => Some(value),
        }
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let Value::Array(items) = self.value else {
            self.wrong_type::<()>("a list", "write it as a list (\"- ...\")");
            return Vec::new();
        };
        let node = |(index, value)| Node {
            value,
            path: format!("{}[{index}]", self.path),
            report: self.report,
        };
        items.iter().enumerate().map(node).collect()
    }

    /// The entries of a map with free keys.
    pub(super) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let Value::Object(map) = self.value else {
            self.wrong_type::<()>("a map", "");
            return Vec::new();
        };
        let node = |(key, value): (&'a String, _)| {
            let path = format!("{}[{key}]", self.path);
            (
                key.as_str(),
                Node {
                    value,
                    path,
                    report: self.report,
                },
            )
        };
        map.iter().map(node).collect()
    }

    /// One word of a closed set. `refused`: words of Istio's API that are not implemented.
    pub(super) fn choice<T: Copy>(
        &self,
        words: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if let Some((_, remedy)) = refused.iter().find(|(word, _)| *word == text) {
            return self.error(format!("{text} is not implemented yet"), remedy);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let remedy = match nearest(text, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("use one of {}", known.join(", ")),
        };
        self.error(format!("{text:?} is not a value of this field"), remedy)
    }
}

/// The fields of an open object.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(super) path: String,
    pub(super) report: &'a Report,
    known: &'static [&'static str],
}

impl<'a> Fields<'a> {
    /// The field, unless absent or null.
    pub(super) fn get(&self, name: &str) -> Option<Node<'a>> {
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

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Reports an error about this object.
    pub(super) fn error<T>(&self, problem: impl Display, remedy: impl Display) -> Option<T> {
        self.report.add(&self.path, problem, remedy);
        None
    }

    /// Reports an error about one field.
    pub(super) fn error_at<T>(
        &self,
        name: &str,
        problem: impl Display,
        remedy: impl Display,
    ) -> Option<T> {
        self.report.add(&self.path_of(name), problem, remedy);
        None
    }

    /// The field, or an error with `remedy` if it is absent.
    pub(super) fn required(&self, name: &str, remedy: &str) -> Option<Node<'a>> {
        self.get(name)
            .or_else(|| self.error_at(name, "required, but missing", remedy))
    }

    /// A string; absent and empty are the same, as in protobuf.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name)?.text()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A string that must be there.
    pub(super) fn required_text(&self, name: &str, remedy: &str) -> Option<String> {
        let node = self.required(name, remedy)?;
        let text = node.text()?;
        if text.is_empty() {
            return node.error("must not be empty", remedy);
        }
        Some(text.to_owned())
    }

    /// A string in a form of its own; absent and empty are the same.
    pub(super) fn parse<T: FromStr>(&self, name: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let node = self.get(name)?;
        (!node.text()?.is_empty()).then(|| node.parse())?
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let node = self.get(name)?;
        match node.value {
            Value::Bool(value) => Some(*value),
            _ => node.wrong_type("true or false", ""),
        }
    }

    /// A 32-bit number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let value = self.get(name)?.integer(0, u64::from(u32::MAX))?;
        u32::try_from(value).ok()
    }

    /// A number of which 0 means "not set", as in protobuf.
    pub(super) fn limit(&self, name: &str) -> Option<u32> {
        // int32 in Istio's API.
        let value = self.get(name)?.integer(0, i32::MAX as u64)?;
        u32::try_from(value).ok().filter(|value| *value > 0)
    }

    /// A port; 0 means "not set", as in protobuf.
    pub(super) fn port(&self, name: &str) -> Option<PortNumber> {
        let node = self.get(name)?;
        if node.value.as_u64() == Some(0) {
            return None;
        }
        node.port()
    }

    /// A duration of at least a millisecond.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.get(name)?.duration(Duration::from_millis(1))
    }

    /// The elements of a list; none if absent.
    pub(super) fn items(&self, name: &str) -> Vec<Node<'a>> {
        self.get(name).map(|node| node.items()).unwrap_or_default()
    }

    /// A list of strings, none of them empty.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let items = self.items(name).into_iter();
        items
            .filter_map(|node| match node.text()? {
                "" => node.error("must not be empty", "remove it"),
                text => Some(text.to_owned()),
            })
            .collect()
    }

    /// A list of strings in a form of their own.
    pub(super) fn parses<T: FromStr>(&self, name: &str) -> Vec<T>
    where
        T::Err: Display,
    {
        self.items(name).iter().filter_map(Node::parse).collect()
    }

    /// A map of strings.
    pub(super) fn text_map(&self, name: &str) -> BTreeMap<String, String> {
        let Some(node) = self.get(name) else {
            return BTreeMap::new();
        };
        let entries = node.entries().into_iter();
        entries
            .filter_map(|(key, node)| Some((key.to_owned(), node.text()?.to_owned())))
            .collect()
    }

    /// As [`Node::choice`]; `None` if absent.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        self.get(name)?.choice(words, refused)
    }

    /// The names among `names` that are set.
    pub(super) fn present<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let set = |name: &&&str| self.get(name).is_some_and(|node| !is_unset(node.value));
        names.iter().filter(set).copied().collect()
    }

    /// Reports all but the first of `names` that are set, since they exclude each other.
    pub(super) fn exclusive(&self, names: &[&str]) {
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
    pub(super) fn fixed(&self, name: &str, only: &Value, remedy: &str) {
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
fn is_empty(value: &Value) -> bool {
    is_unset(value) || value.as_object().is_some_and(Map::is_empty)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => String::from("nothing"),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => String::from("a list"),
        Value::Object(_) => String::from("an object"),
    }
}
