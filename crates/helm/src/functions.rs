//! The functions of the dialect: those of Go's templates and of Helm that charts may call.
//!
//! Every function means what it means to Helm (its library is called sprig). A function that is
//! not in the table is an error at the call, by name.

mod logic;
mod maps;
mod text;

use std::collections::HashMap;

use gtmpl_ng::{Func, FuncError, NumberKind, Value, funcs::BUILTINS};

use crate::engine;

/// Go's own functions that charts have no business with: they escape for HTML, JavaScript and
/// URLs, or call function values, of which there are none.
const LEFT_OUT: &[&str] = &["html", "js", "urlquery", "call"];

const HELM: &[(&str, Func)] = &[
    ("include", engine::include),
    // text
    ("contains", text::contains),
    ("hasPrefix", text::has_prefix),
    ("indent", text::indent),
    ("lower", text::lower),
    ("nindent", text::nindent),
    ("quote", text::quote),
    ("toString", text::to_string),
    ("toYaml", text::to_yaml),
    ("trim", text::trim),
    ("trimPrefix", text::trim_prefix),
    ("trimSuffix", text::trim_suffix),
    ("trunc", text::trunc),
    // maps and lists
    ("dict", maps::dict),
    ("has", maps::has),
    ("hasKey", maps::has_key),
    ("list", maps::list),
    ("omit", maps::omit),
    ("pick", maps::pick),
    // decisions
    ("coalesce", logic::coalesce),
    ("default", logic::default),
    ("fail", logic::fail),
    ("int", logic::int),
    ("required", logic::required),
    ("ternary", logic::ternary),
];

/// The functions by name.
pub(crate) fn table() -> HashMap<String, Func> {
    BUILTINS
        .iter()
        .filter(|(name, _)| !LEFT_OUT.contains(name))
        .chain(HELM)
        .map(|(name, function)| ((*name).to_owned(), *function))
        .collect()
}

/// The arguments of a call, if they are as many as `signature` has.
fn arguments<'a, const N: usize>(
    signature: &str,
    args: &'a [Value],
) -> Result<&'a [Value; N], FuncError> {
    args.try_into()
        .map_err(|_| misuse(signature, format_args!("got {} arguments", args.len())))
}

/// An argument that must be text.
fn text<'a>(signature: &str, arg: &'a Value) -> Result<&'a str, FuncError> {
    match arg {
        Value::String(text) => Ok(text),
        other => Err(misuse(signature, format_args!("{other} is no text"))),
    }
}

/// An argument that must be a map.
fn map<'a>(signature: &str, arg: &'a Value) -> Result<&'a HashMap<String, Value>, FuncError> {
    match arg {
        Value::Map(map) | Value::Object(map) => Ok(map),
        other => Err(misuse(signature, format_args!("{other} is no map"))),
    }
}

fn misuse(signature: &str, what: std::fmt::Arguments<'_>) -> FuncError {
    FuncError::Generic(format!("{signature}: {what}"))
}

/// Whether a value is empty, as Helm sees it: absent, false, zero, or without content.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => match number.kind() {
            NumberKind::Unsigned(value) => value == 0,
            NumberKind::Signed(value) => value == 0,
            NumberKind::Float(value) => value == 0.0,
        },
        Value::Array(items) => items.is_empty(),
        Value::Map(map) | Value::Object(map) => map.is_empty(),
        Value::Function(_) => false,
    }
}

#[cfg(test)]
mod tests;
