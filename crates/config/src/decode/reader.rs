//! Reading of a JSON tree field by field: every wrong field is reported with its path, nothing
//! is dropped silently, and reading goes on after an error so that all are seen at once.

mod fields;
#[cfg(test)]
pub(super) mod opened;

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

pub(super) use self::fields::Fields;
use self::fields::is_empty;
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
        #[cfg(test)]
        opened::note(&self.path, known, refused);
        let Value::Object(map) = self.value else {
            return self.wrong_type("an object", "");
        };
        let fields = Fields::new(map, self, known);
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
