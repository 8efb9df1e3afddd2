//! `--set KEY=VALUE` in Helm's syntax.
//!
//! - `a.b=1,c=x`: nested keys, several assignments; a comma, dot, `=` or bracket that is meant
//!   literally is escaped: `annotations.example\.com/team=a\,b`;
//! - `a={x,y}`: a list; `a[0].b=x`: one of its items;
//! - `true`, `false`, `null` and whole numbers are typed, everything else (and a number with leading
//!   zeros) is text; `--set-string` makes all of them text.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// Longest list that an index may make; a slip of the finger must not take all memory.
const LONGEST_LIST: usize = 1000;

/// How the text behind `=` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// Booleans, null and whole numbers as such.
    Typed,
    /// Always text.
    Text,
}

/// Why an assignment cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SetError {
    /// There is no `=`.
    #[error("{key:?} has no value: write KEY=VALUE, and escape a comma inside a value as \\,")]
    NoValue {
        /// What stands in place of KEY=VALUE.
        key: String,
    },
    /// A key between dots is empty.
    #[error("an empty key in {text:?}: write for example global.hub=registry.example.com")]
    EmptyKey {
        /// The whole text.
        text: String,
    },
    /// What is between brackets is no number, or too large a one.
    #[error(
        "{index:?} is not the index of a list: write for example key[0]=value (at most {LONGEST_LIST} items)"
    )]
    Index {
        /// The text between the brackets.
        index: String,
    },
    /// A list without end.
    #[error("the list in {text:?} has no closing brace: write key={{a,b}}")]
    OpenList {
        /// The whole text.
        text: String,
    },
}

enum Step {
    Key(String),
    Index(usize),
}

/// Makes in `values` the assignments that `text` states, the later over the earlier.
pub(crate) fn set(values: &mut Value, text: &str, literal: Literal) -> Result<(), SetError> {
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let path = path(&mut rest, text)?;
        let value = if rest.next_if_eq(&'{').is_some() {
            list(&mut rest, text, literal)?
        } else {
            scalar(&until(&mut rest, &[',']), literal)
        };
        rest.next_if_eq(&',');
        assign(values, path.into_iter(), value);
    }
    Ok(())
}

/// Reads up to and including the `=`.
fn path(rest: &mut Peekable<Chars<'_>>, text: &str) -> Result<Vec<Step>, SetError> {
    let mut steps = Vec::new();
    loop {
        let key = until(rest, &['.', '=', '[', ',']);
        if key.is_empty() {
            let text = text.to_owned();
            return Err(SetError::EmptyKey { text });
        }
        steps.push(Step::Key(key.clone()));
        while rest.next_if_eq(&'[').is_some() {
            steps.push(index(rest)?);
        }
        match rest.next() {
            Some('=') => return Ok(steps),
            Some('.') => {}
            _ => return Err(SetError::NoValue { key }),
        }
    }
}

fn index(rest: &mut Peekable<Chars<'_>>) -> Result<Step, SetError> {
    let index = until(rest, &[']']);
    rest.next();
    match index.parse() {
        Ok(number) if number < LONGEST_LIST => Ok(Step::Index(number)),
        _ => Err(SetError::Index { index }),
    }
}

fn list(rest: &mut Peekable<Chars<'_>>, text: &str, literal: Literal) -> Result<Value, SetError> {
    let mut items = Vec::new();
    loop {
        let item = until(rest, &[',', '}']);
        let end = rest.next();
        if !(item.is_empty() && items.is_empty() && end == Some('}')) {
            items.push(scalar(&item, literal));
        }
        match end {
            Some(',') => {}
            Some(_) => return Ok(items.into()),
            None => {
                return Err(SetError::OpenList {
                    text: text.to_owned(),
                });
            }
        }
    }
}

/// Reads up to one of `ends`, which stays. A backslash takes the next character literally.
fn until(rest: &mut Peekable<Chars<'_>>, ends: &[char]) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next_if(|next| !ends.contains(next)) {
        text.extend(if next == '\\' {
            rest.next()
        } else {
            Some(next)
        });
    }
    text
}

fn scalar(text: &str, literal: Literal) -> Value {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match text {
        _ if literal == Literal::Text => text.into(),
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        _ if digits.starts_with('0') && digits.len() > 1 => text.into(),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| text.into(), Value::from),
    }
}

/// Puts `value` at the end of `path`; maps and lists on the way come into being.
fn assign(at: &mut Value, mut path: impl Iterator<Item = Step>, value: Value) {
    match path.next() {
        None => *at = value,
        Some(Step::Key(key)) => {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            assign(&mut at[key], path, value);
        }
        Some(Step::Index(index)) => {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            if let Value::Array(items) = at {
                items.resize(items.len().max(index + 1), Value::Null);
                assign(&mut items[index], path, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        let mut values = json!({});
        set(&mut values, text, Literal::Typed).unwrap();
        values
    }

    #[test]
    fn nested_keys_and_several_assignments() {
        assert_eq!(read("a.b=1,a.c=x"), json!({"a": {"b": 1, "c": "x"}}));
        assert_eq!(read("a=,b=y"), json!({"a": "", "b": "y"}));
        assert_eq!(read("a=x=y"), json!({"a": "x=y"}));
    }

    #[test]
    fn scalars_have_types() {
        let values = read("a=true,b=false,c=null,d=-3,e=007,f=1.5,g=0,h=True");
        let wanted = json!({"a": true, "b": false, "c": null, "d": -3, "e": "007", "f": "1.5",
            "g": 0, "h": "True"});
        assert_eq!(values, wanted);
        let mut text = json!({});
        set(&mut text, "a=true,b={1,2}", Literal::Text).unwrap();
        assert_eq!(text, json!({"a": "true", "b": ["1", "2"]}));
    }

    #[test]
    fn lists_are_made_whole_or_item_by_item() {
        assert_eq!(read("a={x,2},b={}"), json!({"a": ["x", 2], "b": []}));
        assert_eq!(read("a[1].b=x"), json!({"a": [null, {"b": "x"}]}));
        assert_eq!(
            read("a[0][1].b.c=x"),
            json!({"a": [[null, {"b": {"c": "x"}}]]})
        );
        assert_eq!(read("a.b[0].c=x"), json!({"a": {"b": [{"c": "x"}]}}));
    }

    #[test]
    fn escaped_characters_are_literal() {
        let values = read(r"annotations.example\.com/team=a\,b,c=\{x\}");
        assert_eq!(
            values,
            json!({"annotations": {"example.com/team": "a,b"}, "c": "{x}"})
        );
    }

    #[test]
    fn later_assignments_win() {
        assert_eq!(read("a=1,a.b=2,a.c=3"), json!({"a": {"b": 2, "c": 3}}));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let fail = |text: &str| set(&mut json!({}), text, Literal::Typed).unwrap_err();
        assert_eq!(
            fail("a=1,b"),
            SetError::NoValue {
                key: "b".to_owned()
            }
        );
        assert_eq!(
            fail("a..b=1"),
            SetError::EmptyKey {
                text: "a..b=1".to_owned()
            }
        );
        assert_eq!(
            fail("=1"),
            SetError::EmptyKey {
                text: "=1".to_owned()
            }
        );
        assert_eq!(
            fail("a[x]=1"),
            SetError::Index {
                index: "x".to_owned()
            }
        );
        assert_eq!(
            fail("a[4000000000]=1"),
            SetError::Index {
                index: "4000000000".to_owned()
            }
        );
        assert_eq!(
            fail("a={1,2"),
            SetError::OpenList {
                text: "a={1,2".to_owned()
            }
        );
    }
}
