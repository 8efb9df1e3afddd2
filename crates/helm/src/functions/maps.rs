//! Functions that make maps and lists and look into them.

use std::collections::HashMap;

use gtmpl_ng::{FuncError, Value};

use super::{arguments, map, misuse, text};

pub(super) fn dict(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "dict KEY VALUE ...";
    let mut made = HashMap::new();
    for pair in args.chunks(2) {
        let [key, value] = arguments(SIGNATURE, pair)?;
        made.insert(text(SIGNATURE, key)?.to_owned(), value.clone());
    }
    Ok(Value::Map(made))
}

pub(super) fn has(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "has ITEM LIST";
    match arguments(SIGNATURE, args)? {
        [item, Value::Array(items)] => Ok(items.contains(item).into()),
        [_, Value::NoValue | Value::Nil] => Ok(false.into()),
        [_, other] => Err(misuse(SIGNATURE, format_args!("{other} is no list"))),
    }
}

pub(super) fn has_key(args: &[Value]) -> Result<Value, FuncError> {
    const SIGNATURE: &str = "hasKey MAP KEY";
    let [whole, key] = arguments(SIGNATURE, args)?;
    Ok(map(SIGNATURE, whole)?
        .contains_key(text(SIGNATURE, key)?)
        .into())
}

pub(super) fn list(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::Array(args.to_vec()))
}

pub(super) fn omit(args: &[Value]) -> Result<Value, FuncError> {
    filtered("omit MAP KEY ...", args, |named| !named)
}

pub(super) fn pick(args: &[Value]) -> Result<Value, FuncError> {
    filtered("pick MAP KEY ...", args, |named| named)
}

/// A copy of the map in the first argument with the keys for which `keep`, told whether the key
/// is among the other arguments, says so.
fn filtered(signature: &str, args: &[Value], keep: fn(bool) -> bool) -> Result<Value, FuncError> {
    let [whole, keys @ ..] = args else {
        return Err(misuse(signature, format_args!("got no map")));
    };
    let keys = keys
        .iter()
        .map(|key| text(signature, key))
        .collect::<Result<Vec<_>, _>>()?;
    let kept = map(signature, whole)?
        .iter()
        .filter(|(key, _)| keep(keys.contains(&key.as_str())))
        .map(|(key, value)| (key.clone(), value.clone()));
    Ok(Value::Map(kept.collect()))
}
