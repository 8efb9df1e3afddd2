//! Splitting of a text into documents and parsing each to JSON.

use serde_json::{Map, Number, Value};

use super::FieldError;

/// One document of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Line at which it starts, from 1 (that of its first content).
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// The documents of a YAML text, without those that hold only comments or nothing. Splitting by
/// hand keeps a syntax error in one document from hiding the others.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset, mut line_number) = (0, 1, 0, 1);
    for line in text.split_inclusive('\n') {
        let end = offset + line.len();
        if is_separator(line) {
            documents.push((start_line, &text[start..offset]));
            // What follows the marker on its line belongs to the document: `--- {a: 1}`.
            start = offset + 3;
            start_line = line_number;
        }
        offset = end;
        line_number += 1;
    }
    documents.push((start_line, &text[start..]));
    documents
        .into_iter()
        .filter_map(|(line, text)| {
            let skipped = text.lines().take_while(|l| is_blank(l)).count();
            let all_blank = skipped == text.lines().count();
            (!all_blank).then_some(Document {
                line: line + skipped,
                text,
            })
        })
        .collect()
}

fn is_separator(line: &str) -> bool {
    let marker = line.starts_with("---") || line.starts_with("...");
    marker && line[3..].chars().next().is_none_or(char::is_whitespace)
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line.starts_with('%')
}

/// Parses one document. The error names the line within the whole text.
pub(super) fn parse(document: Document<'_>) -> Result<Value, FieldError> {
    let first_content = document.text.lines().take_while(|l| is_blank(l)).count();
    let document_line = document.line.saturating_sub(first_content);
    if let Some(line) = too_deep(document.text) {
        let line = line + document_line.max(1) - 1;
        return Err(FieldError {
            path: String::new(),
            problem: format!("line {line}: nested deeper than {MAX_OPEN} levels"),
            remedy: String::new(),
        });
    }
    let parsed: Result<serde_yaml::Value, _> = serde_yaml::from_str(document.text);
    match parsed {
        Ok(value) => to_json(value, 0).map_err(|problem| FieldError {
            path: String::new(),
            problem,
            remedy: String::new(),
        }),
        Err(error) => {
            let line = error
                .location()
                .map(|at| at.line() + document_line.max(1) - 1);
            let at = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            let text = error.to_string();
            // The library's own position counts from the document's start.
            let text = text.split(" at line ").next().unwrap_or_default();
            Err(FieldError {
                path: String::new(),
                problem: format!("not valid YAML: {at}{text}"),
                remedy: String::from("mind the indentation and quotes there"),
            })
        }
    }
}

/// Brackets (or `- ` and `? ` in one line) that may be open at once. The parser's time grows with
/// the square of the depth: this many cost it milliseconds, a hundred thousand most of a minute.
const MAX_OPEN: usize = 2_000;

/// The line (from 1) at which more than [`MAX_OPEN`] levels are open. Quotes and block texts are
/// not told apart, so that texts with very many unclosed brackets are refused too.
fn too_deep(text: &str) -> Option<usize> {
    let mut brackets = 0usize;
    for (index, line) in text.lines().enumerate() {
        let mut markers = 0usize;
        let mut previous = b' ';
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => brackets += 1,
                b']' | b'}' => brackets = brackets.saturating_sub(1),
                b' ' if previous == b'-' || previous == b'?' => markers += 1,
                _ => {}
            }
            previous = byte;
            if brackets > MAX_OPEN || markers > MAX_OPEN {
                return Some(index + 1);
            }
        }
    }
    None
}

/// Kubernetes objects are far flatter; this only bounds the recursion.
const MAX_DEPTH: usize = 64;

fn to_json(value: serde_yaml::Value, depth: usize) -> Result<Value, String> {
    use serde_yaml::Value as Yaml;
    if depth > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => {
                let value = number.as_f64().and_then(Number::from_f64);
                Value::Number(value.ok_or_else(|| format!("{number} is not a number of JSON"))?)
            }
        },
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            let items = items.into_iter().map(|item| to_json(item, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key_text(key)?, to_json(value, depth + 1)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            return Err(format!("the YAML tag {} is not supported", tagged.tag));
        }
    })
}

/// Keys such as the 8080 of `portLevelMtls` become text, as in JSON.
fn key_text(key: serde_yaml::Value) -> Result<String, String> {
    match key {
        serde_yaml::Value::String(text) => Ok(text),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Bool(value) => Ok(value.to_string()),
        _ => Err(String::from("a key is neither text nor a number")),
    }
}
