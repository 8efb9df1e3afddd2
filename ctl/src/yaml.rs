//! YAML as kubectl reads it: version 1.1, where a plain `off` is false, `0644` is 420 and `1_000` is
//! 1000. The rest of this program reads version 1.2, where all of them are text.
//!
//! Manifests that people hand to `kubectl` come through here in both directions. Source: the
//! resolver of go-yaml v2, below sigs.k8s.io/yaml.

use serde_json::Value;

/// Stands around the number of a word that is replaced while version 1.2 is read: from the private
/// use area, so that no manifest has it.
const MARK: char = '\u{e000}';

/// A document, with the newline at its end. Text that would be read as something else is quoted.
pub(crate) fn print(value: &Value) -> String {
    mesh_helm::print_yaml(value) + "\n"
}

/// Reads a document. Keys stay text whatever they are.
///
/// Words that mean something else in version 1.1 are marked, and replaced by what they mean where
/// the mark turns out to be a whole value: so quotes, blocks and comments are still the parser's.
///
/// # Errors
/// If it is no YAML.
pub(crate) fn read(text: &str) -> Result<Value, serde_yaml::Error> {
    let words = words(text);
    if words.is_empty() || text.contains(MARK) {
        return serde_yaml::from_str(text);
    }
    let mut marked = String::with_capacity(text.len());
    let mut end = 0;
    for (index, (start, word)) in words.iter().enumerate() {
        marked.push_str(&text[end..*start]);
        marked.push_str(&mark(index));
        end = start + word.len();
    }
    marked.push_str(&text[end..]);
    match serde_yaml::from_str(&marked) {
        Ok(mut value) => {
            resolve(&mut value, &words);
            Ok(value)
        }
        // Again, so that the error is about the text as it is.
        Err(_) => serde_yaml::from_str(text),
    }
}

fn mark(index: usize) -> String {
    format!("{MARK}{index}{MARK}")
}

/// What may be a value of its own and means something else in version 1.1, with its position.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let mut start = 0;
        let separates = |c: char| c.is_whitespace() || ",[]{}".contains(c);
        for word in line.split_inclusive(separates) {
            let bare = word.trim_end_matches(separates);
            let before = line[..start].trim_end_matches(' ');
            let opens = before.ends_with([',', '[', '{'])
                || (before.len() < start && before.ends_with([':', '-']));
            if opens && meaning(bare).is_some() {
                words.push((line_start + start, bare));
            }
            start += word.len();
        }
        line_start += line.len();
    }
    words
}

/// What version 1.1 takes `word` for, if version 1.2 takes it for text.
fn meaning(word: &str) -> Option<Value> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true.into()),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false.into()),
        _ => number(word),
    }
}

/// Numbers with a leading zero, which are octal, and with underscores.
fn number(word: &str) -> Option<Value> {
    let digits = word.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let is_whole = unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = is_whole && unsigned.len() > 1 && unsigned.starts_with('0');
    let begins = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !begins || !(has_leading_zero || digits.len() < word.len()) {
        return None;
    }
    let (radix, rest) = match unsigned.get(..2) {
        Some("0x") => (16, &unsigned[2..]),
        Some("0o") => (8, &unsigned[2..]),
        Some("0b") => (2, &unsigned[2..]),
        _ if has_leading_zero => (8, unsigned),
        _ => (10, unsigned),
    };
    match i64::from_str_radix(rest, radix) {
        Ok(whole) if digits.starts_with('-') => Some((-whole).into()),
        Ok(whole) => Some(whole.into()),
        // Such as 1_000.5, and 09, which is no octal number.
        Err(_) => digits.parse::<f64>().ok().map(Value::from),
    }
}

/// Puts the meaning in the place of marks that are whole values, and the word in that of others.
fn resolve(value: &mut Value, words: &[(usize, &str)]) {
    match value {
        Value::String(text) if text.contains(MARK) => {
            let whole = text
                .strip_prefix(MARK)
                .and_then(|text| text.strip_suffix(MARK));
            let word = whole.and_then(|index| words.get(index.parse::<usize>().ok()?));
            *value = match word.and_then(|(_, word)| meaning(word)) {
                Some(meaning) => meaning,
                None => unmarked(text, words).into(),
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, words)),
        Value::Object(fields) => {
            let marked: Vec<String> = fields
                .keys()
                .filter(|key| key.contains(MARK))
                .cloned()
                .collect();
            for key in marked {
                if let Some(value) = fields.remove(&key) {
                    fields.insert(unmarked(&key, words), value);
                }
            }
            fields.values_mut().for_each(|field| resolve(field, words));
        }
        _ => {}
    }
}

fn unmarked(text: &str, words: &[(usize, &str)]) -> String {
    let parts = text.split(MARK).enumerate().map(|(position, part)| {
        // Every second part stands between two marks.
        let index = (position % 2 == 1)
            .then(|| part.parse::<usize>().ok())
            .flatten();
        index
            .and_then(|index| words.get(index))
            .map_or(part, |(_, word)| word)
    });
    parts.collect()
}

#[cfg(test)]
mod tests;
