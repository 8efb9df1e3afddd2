//! Functions that make text.

use gtmpl_ng::{FuncError, Value};

use super::{arguments, text};
use crate::{values, yaml};

pub(super) fn contains(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "contains PART TEXT";
    let [part, whole] = arguments(SIGNATURE, args)?;
    Ok(text(SIGNATURE, whole)?
        .contains(text(SIGNATURE, part)?)
        .into())
}

pub(super) fn has_prefix(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "hasPrefix PREFIX TEXT";
    let [prefix, whole] = arguments(SIGNATURE, args)?;
    Ok(text(SIGNATURE, whole)?
        .starts_with(text(SIGNATURE, prefix)?)
        .into())
}

pub(super) fn indent(args: &[Value]) -> Result<Value, FuncError> {
    indented("indent SPACES TEXT", args).map(Value::from)
}

pub(super) fn nindent(args: &[Value]) -> Result<Value, FuncError> {
    Ok(format!("\n{}", indented("nindent SPACES TEXT", args)?).into())
}

fn indented(signature: &str, args: &[Value]) -> Result<String, FuncError> {
    let [spaces, block] = arguments(signature, args)?;
    let Value::Number(spaces) = spaces else {
        return Err(super::misuse(
            signature,
            format_args!("{spaces} is no number"),
        ));
    };
    let padding =
        " ".repeat(usize::try_from(spaces.as_u64().unwrap_or_default()).unwrap_or_default());
    let block = text(signature, block)?;
    Ok(padding.clone() + &block.replace('\n', &format!("\n{padding}")))
}

pub(super) fn lower(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "lower TEXT";
    let [whole] = arguments(SIGNATURE, args)?;
    Ok(text(SIGNATURE, whole)?.to_lowercase().into())
}

/// Each argument that is there, in double quotes.
pub(super) fn quote(args: &[Value]) -> Result<Value, FuncError> {
    let quoted: Vec<String> = args
        .iter()
        .filter(|arg| !matches!(arg, Value::NoValue | Value::Nil))
        .map(|arg| serde_json::Value::from(arg.to_string()).to_string())
        .collect();
    Ok(quoted.join(" ").into())
}

pub(super) fn to_string(args: &[Value]) -> Result<Value, FuncError> {
    let [value] = arguments("toString VALUE", args)?;
    Ok(value.to_string().into())
}

pub(super) fn to_yaml(args: &[Value]) -> Result<Value, FuncError> {
    let [value] = arguments("toYaml VALUE", args)?;
    Ok(yaml::print(&values::from_template(value)).into())
}

pub(super) fn trim(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "trim TEXT";
    let [whole] = arguments(SIGNATURE, args)?;
    Ok(text(SIGNATURE, whole)?.trim().into())
}

pub(super) fn trim_prefix(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "trimPrefix PREFIX TEXT";
    let [prefix, whole] = arguments(SIGNATURE, args)?;
    let (prefix, whole) = (text(SIGNATURE, prefix)?, text(SIGNATURE, whole)?);
    Ok(whole.strip_prefix(prefix).unwrap_or(whole).into())
}

pub(super) fn trim_suffix(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "trimSuffix SUFFIX TEXT";
    let [suffix, whole] = arguments(SIGNATURE, args)?;
    let (suffix, whole) = (text(SIGNATURE, suffix)?, text(SIGNATURE, whole)?);
    Ok(whole.strip_suffix(suffix).unwrap_or(whole).into())
}

/// The first `LENGTH` bytes; names of Kubernetes objects, which this is for, are ASCII.
pub(super) fn trunc(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "trunc LENGTH TEXT";
    let [length, whole] = arguments(SIGNATURE, args)?;
    let whole = text(SIGNATURE, whole)?;
    let Value::Number(length) = length else {
        return Err(super::misuse(
            SIGNATURE,
            format_args!("{length} is no number"),
        ));
    };
    let length = length
        .as_u64()
        .and_then(|length| usize::try_from(length).ok());
    Ok(length
        .and_then(|length| whole.get(..length))
        .unwrap_or(whole)
        .into())
}
