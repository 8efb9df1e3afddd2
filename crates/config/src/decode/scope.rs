//! Parts that several kinds share: string matches, selectors, `exportTo`, `namespace/host`.

use std::collections::BTreeSet;

use super::reader::{Fields, Node};
use crate::gateway::NamespaceScope;
use crate::host::HostPattern;
use crate::matching::{Pattern, StringMatch, ValueMatch};
use crate::selector::{LabelSelector, Labels};
use crate::visibility::{DefaultExport, ExportTo};

/// A `StringMatch` that must say something. `allow_empty_prefix`: for paths, where it matches all.
pub(super) fn string_match(node: &Node<'_>, allow_empty_prefix: bool) -> Option<StringMatch> {
    match value_match(node, allow_empty_prefix)? {
        ValueMatch::Value(value) => Some(value),
        ValueMatch::Present => {
            node.error("empty match", "set exact, prefix or regex, or remove it")
        }
    }
}

/// A `StringMatch` of which the empty form (and Istio's regex `*`) asks for presence only.
pub(super) fn value_match(node: &Node<'_>, allow_empty_prefix: bool) -> Option<ValueMatch> {
    if node.value.is_null() {
        return Some(ValueMatch::Present);
    }
    let fields = node.open(&["exact", "prefix", "regex"], &[])?;
    let kinds: Vec<Node<'_>> = ["exact", "prefix", "regex"]
        .iter()
        .filter_map(|name| fields.get(name))
        .collect();
    let [kind] = kinds.as_slice() else {
        return match kinds.is_empty() {
            true => Some(ValueMatch::Present),
            false => fields.error("more than one of exact, prefix, regex", "keep one"),
        };
    };
    let text = kind.text()?.to_owned();
    let matched = match kind.path.rsplit('.').next() {
        Some("exact") => StringMatch::Exact(text),
        Some("prefix") if text.is_empty() && !allow_empty_prefix => {
            return kind.error("must not be empty", "remove the match, or name a prefix");
        }
        Some("prefix") => StringMatch::Prefix(text),
        // Istio's metacharacter for "any value"; it is not a regular expression.
        _ if text == "*" => return Some(ValueMatch::Present),
        _ => StringMatch::Regex(pattern(kind)?),
    };
    Some(ValueMatch::Value(matched))
}

/// A regular expression.
pub(super) fn pattern(node: &Node<'_>) -> Option<Pattern> {
    let text = node.text()?;
    if text.is_empty() {
        return node.error("must not be empty", "name a regular expression");
    }
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let lines = error.to_string();
            let reason = lines.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            node.error(
                format!("{text:?} is not a regular expression: {reason}"),
                "use RE2 syntax (no look-around, no back references)",
            )
        }
    }
}

/// A map of labels, each a valid one.
pub(super) fn labels(fields: &Fields<'_>, name: &str) -> Labels {
    let map = fields.text_map(name);
    for (key, value) in &map {
        let at = format!("{name}[{key}]");
        if value.contains('*') || key.contains('*') {
            fields.error_at::<()>(
                &at,
                "wildcards are not supported in labels",
                "name the exact label",
            );
        } else if let Some(problem) = label_problem(key, value) {
            fields.error_at::<()>(&at, problem, "see the Kubernetes rules for labels");
        }
    }
    map
}

fn label_problem(key: &str, value: &str) -> Option<String> {
    let (prefix, name) = key.rsplit_once('/').map_or(("", key), |(p, n)| (p, n));
    if prefix.len() > 253 || !is_label_word(name) {
        return Some(format!("{key:?} is not a label name"));
    }
    (!value.is_empty() && !is_label_word(value)).then(|| format!("{value:?} is not a label value"))
}

fn is_label_word(word: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    word.len() <= 63
        && word.starts_with(edge)
        && word.ends_with(edge)
        && word
            .chars()
            .all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

/// A selector `{matchLabels: {...}}` (`type.v1beta1`) or `{labels: {...}}` (`networking`), by `key`.
/// `None` if absent or without labels: both select everything.
pub(super) fn selector(fields: &Fields<'_>, name: &str, key: SelectorKey) -> Option<LabelSelector> {
    let node = fields.get(name)?;
    let found = match key {
        SelectorKey::MatchLabels => labels(&node.open(&["matchLabels"], &[])?, "matchLabels"),
        SelectorKey::Labels => labels(&node.open(&["labels"], &[])?, "labels"),
    };
    (!found.is_empty()).then(|| LabelSelector::new(found))
}

/// How a selector writes its labels.
#[derive(Debug, Clone, Copy)]
pub(super) enum SelectorKey {
    /// `matchLabels`.
    MatchLabels,
    /// `labels`.
    Labels,
}

/// `exportTo`. `allow_nowhere`: whether `~` may be written (services).
pub(super) fn export_to(fields: &Fields<'_>, allow_nowhere: bool) -> ExportTo {
    let nodes = fields.items("exportTo");
    let mut namespaces = BTreeSet::new();
    for node in &nodes {
        let Some(text) = node.text() else { continue };
        match text {
            "*" | "~" if nodes.len() > 1 => {
                node.error::<()>(
                    format!("{text:?} cannot stand beside other entries"),
                    "keep one",
                );
            }
            "*" => return ExportTo::All,
            "~" if allow_nowhere => return ExportTo::Nowhere,
            "~" => {
                node.error::<()>(
                    "\"~\" is for ServiceEntry only",
                    "use \".\", \"*\" or a namespace",
                );
            }
            _ => {
                let name = if text == "." {
                    &fields.report.namespace
                } else {
                    text
                };
                if !is_dns_label(name) {
                    node.error::<()>(
                        format!("{text:?} is not a namespace"),
                        "use \".\", \"*\" or a namespace",
                    );
                } else if !namespaces.insert(name.to_owned()) {
                    node.error::<()>(format!("namespace {name} is listed twice"), "remove one");
                }
            }
        }
    }
    if nodes.is_empty() {
        ExportTo::MeshDefault
    } else {
        ExportTo::Namespaces(namespaces)
    }
}

/// MeshConfig's default for `exportTo`.
pub(super) fn default_export(fields: &Fields<'_>, name: &str) -> Option<DefaultExport> {
    let nodes = fields.items(name);
    let (mut own, mut namespaces) = (false, BTreeSet::new());
    for node in &nodes {
        match node.text()? {
            text @ ("*" | "~") if nodes.len() > 1 => {
                return node.error(
                    format!("{text:?} cannot stand beside other entries"),
                    "keep one",
                );
            }
            "*" => return Some(DefaultExport::All),
            "~" => return Some(DefaultExport::Nowhere),
            "." => own = true,
            text if is_dns_label(text) => {
                namespaces.insert(text.to_owned());
            }
            text => {
                return node.error(
                    format!("{text:?} is not a namespace"),
                    "use \".\", \"*\", \"~\" or a namespace",
                );
            }
        }
    }
    match (own, namespaces.is_empty()) {
        (false, true) => None,
        (true, true) => Some(DefaultExport::OwnNamespace),
        _ => Some(DefaultExport::Namespaces { own, namespaces }),
    }
}

/// `namespace/host` or (if `bare` is given) `host`, whose namespace is then `bare`.
pub(super) fn scoped_host(
    node: &Node<'_>,
    bare: Option<NamespaceScope>,
) -> Option<(NamespaceScope, HostPattern)> {
    let text = node.text()?;
    let (namespace, host) = match (text.split_once('/'), bare) {
        (None, Some(bare)) => (bare, text),
        (None, None) => {
            return node.error(
                format!("{text:?} has no namespace"),
                format!("write \"./{text}\", \"*/{text}\" or \"NAMESPACE/{text}\""),
            );
        }
        (Some((namespace, host)), _) => (namespace_scope(node, namespace)?, host),
    };
    match host.parse() {
        Ok(host) => Some((namespace, host)),
        Err(error) => node.error(error, ""),
    }
}

fn namespace_scope(node: &Node<'_>, text: &str) -> Option<NamespaceScope> {
    match text {
        "*" => Some(NamespaceScope::Any),
        "." => Some(NamespaceScope::Only(node.report.namespace.clone())),
        "~" => Some(NamespaceScope::None),
        name if is_dns_label(name) => Some(NamespaceScope::Only(name.to_owned())),
        name => node.error(
            format!("{name:?} is not a namespace"),
            "write \".\" (own), \"*\" (all) or a namespace before the \"/\"",
        ),
    }
}

/// Whether `text` is an RFC 1123 label: what names of namespaces are.
pub(super) fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` is an HTTP header name (RFC 9110 token).
pub(super) fn is_header_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
