//! Names the platform makes, as Kubernetes makes them.

use rand::RngExt as _;
use serde_json::Value;

/// No vowels and no digits that look like them, so that no word appears by chance.
/// Source: `k8s.io/apimachinery/pkg/util/rand`.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The `pod-template-hash` of a Deployment's pod template: FNV-1a (32 bits) of its JSON, written
/// in the alphabet of Kubernetes. Equal templates have equal hashes in every run.
pub(crate) fn template_hash(template: &Value) -> String {
    let mut hash = 0x811c_9dc5_u32;
    // Keys of a serde_json map are sorted, so equal values are equal texts.
    for byte in template.to_string().bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let digits = hash.to_string();
    digits
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Five random characters for the end of a pod's name.
pub(crate) fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// Whether `name` may name an object: a DNS subdomain (RFC 1123).
pub(crate) fn is_valid(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether `key` may name a label: a name of at most 63 letters, digits, `-`, `_` and `.`, with a
/// DNS name and `/` before it if wanted.
pub(crate) fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_valid(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// Whether `value` may be a label's: empty, or as the name of one.
pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    let ends = [name.bytes().next(), name.bytes().next_back()];
    name.len() <= 63
        && ends
            .iter()
            .all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_follow_the_template_and_nothing_else() {
        let one = template_hash(&json!({"spec": {"a": 1, "b": 2}}));
        let same = template_hash(&json!({"spec": {"b": 2, "a": 1}}));
        let other = template_hash(&json!({"spec": {"a": 1, "b": 3}}));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)), "{one}");
    }

    #[test]
    fn suffixes_are_valid_names() {
        let suffix = random_suffix();
        assert_eq!(suffix.len(), 5);
        assert!(is_valid(&format!("web-{suffix}")));
    }

    #[test]
    fn bad_names_are_known() {
        for name in ["", "Web", "a_b", "-a", "a-", "a..b", "../etc"] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(is_valid("details.v1-a"));
    }

    #[test]
    fn labels_are_checked() {
        for key in ["istio-injection", "istio.io/rev", "a.b/C_d"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "-a", "a/b/c", "/a", "a b", "a="] {
            assert!(!is_label_key(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("v1.2") && !is_label_value("a b"));
    }
}
