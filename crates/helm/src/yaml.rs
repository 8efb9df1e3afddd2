//! YAML as Helm prints it, to the byte: text that a template puts into a ConfigMap must not
//! depend on who rendered it.
//!
//! Block style, keys in order, lists not indented in their map, text plain where YAML reads it
//! back as the same text. Source: sigs.k8s.io/yaml and the go-yaml v2 emitter below it.

use serde_json::Value;

/// `value` as a YAML document, without the newline at its end.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    node(&mut out, value, 0);
    out.pop();
    out
}

/// Writes `value` as the content of a line that is already indented by `depth`, and ends it.
fn node(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    pad(out, depth);
                }
                self::key(out, key);
                out.push(':');
                match value {
                    Value::Object(below) if !below.is_empty() => {
                        out.push('\n');
                        pad(out, depth + 2);
                        node(out, value, depth + 2);
                    }
                    Value::Array(below) if !below.is_empty() => {
                        out.push('\n');
                        pad(out, depth);
                        node(out, value, depth);
                    }
                    value => {
                        out.push(' ');
                        node(out, value, depth + 2);
                    }
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    pad(out, depth);
                }
                out.push_str("- ");
                node(out, item, depth + 2);
            }
        }
        Value::String(text) => {
            scalar(out, text, depth);
            out.push('\n');
        }
        value => {
            out.push_str(&value.to_string());
            out.push('\n');
        }
    }
}

fn pad(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn key(out: &mut String, text: &str) {
    match style(text) {
        Style::Literal => out.push_str(&quoted(text)),
        _ => scalar(out, text, 0),
    }
}

fn scalar(out: &mut String, text: &str, depth: usize) {
    match style(text) {
        Style::Plain => out.push_str(text),
        Style::Single => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
        Style::Double => out.push_str(&quoted(text)),
        Style::Literal => {
            let chomping = match text.strip_suffix('\n') {
                None => "-",
                Some(rest) if rest.ends_with('\n') || rest.is_empty() => "+",
                Some(_) => "",
            };
            out.push('|');
            if text.starts_with([' ', '\n']) {
                out.push('2');
            }
            out.push_str(chomping);
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    pad(out, depth);
                    out.push_str(line);
                }
            }
        }
    }
}

/// In double quotes: as JSON, with escapes also for what YAML does not let stand in a text.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{85}' => quoted.push_str("\\N"),
            '\u{2028}' => quoted.push_str("\\L"),
            '\u{2029}' => quoted.push_str("\\P"),
            character if is_printable(character) => quoted.push(character),
            character => quoted.push_str(&format!("\\u{:04X}", u32::from(character))),
        }
    }
    quoted
}

/// Whether `character` may stand in a text and means itself. Source: `c-printable` of YAML 1.1,
/// without the ends of lines and the byte order mark.
fn is_printable(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        character => !character.is_control(),
    }
}

enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

fn style(text: &str) -> Style {
    if !text.chars().all(is_printable) {
        return Style::Double;
    }
    if text.contains('\n') {
        let fits_a_block = !text.contains(" \n") && !text.ends_with(' ') && !text.contains('\t');
        return if fits_a_block {
            Style::Literal
        } else {
            Style::Double
        };
    }
    if text.is_empty() || means_something_else(text) {
        return Style::Double;
    }
    if needs_quotes(text) {
        Style::Single
    } else {
        Style::Plain
    }
}

/// Whether YAML 1.1, as Kubernetes reads it, takes plain `text` for something else than text.
fn means_something_else(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ".nan", ".inf", "-.inf",
        "+.inf", "<<", "=",
    ];
    WORDS.contains(&text.to_lowercase().as_str()) || is_number(text) || is_timestamp(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    // Of any length, though Go stops at 64 bits: others don't.
    let radix = |prefix, radix| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|digit| digit.is_digit(radix)))
    };
    let sexagesimal = unsigned.split_once(':').is_some_and(|(first, rest)| {
        first.bytes().all(|byte| byte.is_ascii_digit())
            && rest
                .split(':')
                .all(|part| part.parse::<f64>().is_ok_and(|part| part < 60.0))
    });
    unsigned.parse::<f64>().is_ok()
        || radix("0x", 16)
        || radix("0b", 2)
        || radix("0o", 8)
        || sexagesimal
}

/// `2006-1-2`, with or without a time of day.
fn is_timestamp(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    parts.len() == 3
        && parts[0].len() == 4
        && parts.iter().all(|part| {
            !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Whether plain `text` would be taken for syntax.
fn needs_quotes(text: &str) -> bool {
    let first = text.chars().next().unwrap_or_default();
    let indicator = "#,[]{}&*!|>'\"%@`".contains(first)
        || ("-?:".contains(first) && text[1..].chars().next().is_none_or(|next| next == ' '));
    indicator
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.contains('\t')
}

#[cfg(test)]
mod tests;
