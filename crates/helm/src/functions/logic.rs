//! Functions that decide.

use gtmpl_ng::{FuncError, NumberKind, Value};

use super::{arguments, is_empty, misuse, text};

/// The first argument that is not empty.
pub(super) fn coalesce(args: &[Value]) -> Result<Value, FuncError> {
    let first = args.iter().find(|arg| !is_empty(arg));
    Ok(first.cloned().unwrap_or(Value::Nil))
}

pub(super) fn default(args: &[Value]) -> Result<Value, FuncError> {
    let [otherwise, value] = arguments("default OTHERWISE VALUE", args)?;
    let chosen = if is_empty(value) { otherwise } else { value };
    Ok(chosen.clone())
}

pub(super) fn fail(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "fail MESSAGE";
    let [message] = arguments(SIGNATURE, args)?;
    Err(FuncError::Generic(text(SIGNATURE, message)?.to_owned()))
}

/// A number without its fraction; text that is a number; 0 for all else.
pub(super) fn int(args: &[Value]) -> Result<Value, FuncError> {
    let [value] = arguments("int VALUE", args)?;
    Ok(match value {
        Value::Number(number) => match number.kind() {
            // Saturates at the ends of the range, and is 0 for what is no number.
            #[allow(clippy::cast_possible_truncation)]
            NumberKind::Float(value) => Value::from(value as i64),
            NumberKind::Signed(_) | NumberKind::Unsigned(_) => value.clone(),
        },
        Value::String(text) => text.parse::<i64>().unwrap_or_default().into(),
        Value::Bool(value) => i64::from(*value).into(),
        _ => 0.into(),
    })
}

pub(super) fn required(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "required MESSAGE VALUE";
    let [message, value] = arguments(SIGNATURE, args)?;
    match value {
        Value::NoValue | Value::Nil => {
            Err(FuncError::Generic(text(SIGNATURE, message)?.to_owned()))
        }
        Value::String(value) if value.is_empty() => {
            Err(FuncError::Generic(text(SIGNATURE, message)?.to_owned()))
        }
        value => Ok(value.clone()),
    }
}

pub(super) fn ternary(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "ternary IF-TRUE IF-FALSE CONDITION";
    match arguments(SIGNATURE, args)? {
        [yes, _, Value::Bool(true)] => Ok(yes.clone()),
        [_, no, Value::Bool(false)] => Ok(no.clone()),
        [_, _, other] => Err(misuse(
            SIGNATURE,
            format_args!("{other} is neither true nor false"),
        )),
    }
}
