//! Envoy's format strings, compiled once.
//!
//! `%OPERATOR(ARGUMENT):LENGTH%`; `%%` is a percent sign. An operator that is not known is
//! refused by name, so that no log silently lacks a field.

mod operator;

use super::Record;
use operator::Operator;

/// Why a format string is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` has no partner.
    #[error(
        "access log format: the % at byte {position} is not closed (write %% for a percent sign)"
    )]
    Unclosed {
        /// Its byte position.
        position: usize,
    },
    /// The operator is not implemented.
    #[error("access log format: operator %{operator}% is not supported")]
    UnknownOperator {
        /// The operator as written.
        operator: String,
    },
    /// The operator's argument or length is wrong.
    #[error("access log format: operator %{operator}%: {reason}")]
    Argument {
        /// The operator as written.
        operator: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Debug, Clone)]
enum Part {
    Literal(Box<[u8]>),
    Operator {
        operator: Operator,
        max_bytes: Option<usize>,
    },
}

#[derive(Debug, Clone)]
enum Shape {
    Text(Vec<Part>),
    /// Field names (JSON-escaped, with quotes and colon) and values.
    Json(Vec<(Box<[u8]>, Vec<Part>)>),
}

/// A compiled format.
#[derive(Debug, Clone)]
pub struct Format {
    shape: Shape,
    reads_response_headers: bool,
}

impl Format {
    /// Compiles a text format. The line's end is part of the format, as in Envoy.
    ///
    /// # Errors
    /// [`FormatError`] that names the operator at fault.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self::new(Shape::Text(parts(text)?)))
    }

    /// Compiles a JSON format: one object per line, fields in the given order. A value that is
    /// one single number operator becomes a number, one that is absent becomes null.
    ///
    /// # Errors
    /// [`FormatError`] that names the operator at fault.
    pub fn parse_json<'a>(
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, FormatError> {
        let mut compiled = Vec::new();
        for (name, text) in fields {
            let mut key = Vec::with_capacity(name.len() + 3);
            write_json_string(name.as_bytes(), &mut key);
            key.push(b':');
            compiled.push((key.into_boxed_slice(), parts(text)?));
        }
        Ok(Self::new(Shape::Json(compiled)))
    }

    fn new(shape: Shape) -> Self {
        let reads = |parts: &[Part]| {
            parts.iter().any(|part| match part {
                Part::Literal(_) => false,
                Part::Operator { operator, .. } => operator.reads_response_headers(),
            })
        };
        let reads_response_headers = match &shape {
            Shape::Text(parts) => reads(parts),
            Shape::Json(fields) => fields.iter().any(|(_, parts)| reads(parts)),
        };
        Self {
            shape,
            reads_response_headers,
        }
    }

    /// Whether [`Record::response_headers`] make a difference. The time that an upstream took is
    /// known without them.
    pub fn reads_response_headers(&self) -> bool {
        self.reads_response_headers
    }

    /// Appends the line for `record` to `out`.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Text(parts) => render_text(parts, record, out),
            Shape::Json(fields) => render_json(fields, record, out),
        }
    }
}

fn parts(text: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut position = 0;
    while let Some(found) = text[position..].find('%') {
        let open = position + found;
        literal.extend_from_slice(&text.as_bytes()[position..open]);
        let rest = &text[open + 1..];
        let length = closing(rest).ok_or(FormatError::Unclosed { position: open })?;
        position = open + length + 2;
        if length == 0 {
            literal.push(b'%');
            continue;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        let (operator, max_bytes) = Operator::parse(&rest[..length])?;
        parts.push(Part::Operator {
            operator,
            max_bytes,
        });
    }
    literal.extend_from_slice(&text.as_bytes()[position..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

/// Finds the `%` that closes an operator; inside parentheses a `%` belongs to the argument
/// (`%START_TIME(%Y/%m)%`).
fn closing(rest: &str) -> Option<usize> {
    let mut inside = false;
    rest.bytes().position(|byte| {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            _ => {}
        }
        byte == b'%' && !inside
    })
}

fn render_text(parts: &[Part], record: &Record<'_>, out: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Literal(bytes) => out.extend_from_slice(bytes),
            Part::Operator {
                operator,
                max_bytes,
            } => {
                let start = out.len();
                if operator.write(record, out) {
                    if operator.writes_foreign_text() {
                        escape_controls(out, start);
                    }
                    truncate(out, start, *max_bytes);
                } else {
                    out.push(b'-');
                }
            }
        }
    }
}

fn render_json(fields: &[(Box<[u8]>, Vec<Part>)], record: &Record<'_>, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    out.push(b'{');
    for (position, (key, parts)) in fields.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        value.clear();
        match parts.as_slice() {
            [
                Part::Operator {
                    operator,
                    max_bytes,
                },
            ] => {
                if !operator.write(record, &mut value) {
                    out.extend_from_slice(b"null");
                } else if operator.is_number() {
                    out.extend_from_slice(&value);
                } else {
                    truncate(&mut value, 0, *max_bytes);
                    write_json_string(&value, out);
                }
            }
            parts => {
                render_text(parts, record, &mut value);
                write_json_string(&value, out);
            }
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Replaces control characters of a value, which could otherwise forge log lines.
fn escape_controls(out: &mut [u8], start: usize) {
    let value = &mut out[start..];
    // Without a way out of the loop it is done many bytes at a time.
    let found = |found, byte: &u8| found | byte.is_ascii_control();
    if !value.iter().fold(false, found) {
        return;
    }
    for byte in value {
        if byte.is_ascii_control() {
            *byte = b'?';
        }
    }
}

fn truncate(out: &mut Vec<u8>, start: usize, max_bytes: Option<usize>) {
    if let Some(max) = max_bytes {
        out.truncate(out.len().min(start + max));
    }
}

fn write_json_string(bytes: &[u8], out: &mut Vec<u8>) {
    use std::io::Write as _;
    out.push(b'"');
    for character in String::from_utf8_lossy(bytes).chars() {
        // Writing to a Vec cannot fail.
        let _ = match character {
            '"' => out.write_all(b"\\\""),
            '\\' => out.write_all(b"\\\\"),
            control if u32::from(control) < 0x20 => write!(out, "\\u{:04x}", u32::from(control)),
            other => write!(out, "{other}"),
        };
    }
    out.push(b'"');
}
