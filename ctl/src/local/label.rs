//! `meshctl local label`: as `kubectl label`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use mesh_local::api::wire;

use super::Scope;
use crate::output;

/// Arguments of `label`.
#[derive(Args, Debug)]
#[command(
    override_usage = "meshctl local label [OPTIONS] KIND NAME KEY=VALUE|KEY-...",
    after_help = "Example: meshctl local label namespace default istio-injection=enabled"
)]
pub(crate) struct Label {
    /// KIND NAME (or KIND/NAME), then KEY=VALUE to set a label, KEY- to remove one.
    #[arg(required = true, num_args = 2.., value_name = "WORDS")]
    words: Vec<String>,
    /// Change labels that have another value.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    scope: Scope,
}

pub(super) async fn run(label: Label) -> anyhow::Result<()> {
    let (kind, name, changes) = parse(&label.words)?;
    let request = wire::Label {
        kind: kind.to_owned(),
        namespace: label.scope.namespace.clone(),
        name: name.to_owned(),
        changes,
        overwrite: label.overwrite,
    };
    for outcome in label.scope.place.client()?.label(request).await? {
        output::line(&format!("{} {}", outcome.object, outcome.action))?;
    }
    Ok(())
}

/// New values by key; `None` removes the label.
type Changes = BTreeMap<String, Option<String>>;

/// Kind, name and changes.
fn parse(words: &[String]) -> anyhow::Result<(&str, &str, Changes)> {
    let (kind, name, rest) = match words {
        [object, rest @ ..] if object.contains('/') => {
            let (kind, name) = object.split_once('/').unwrap_or_default();
            (kind, name, rest)
        }
        [kind, name, rest @ ..] => (kind.as_str(), name.as_str(), rest),
        _ => bail!("give KIND NAME, then KEY=VALUE or KEY-"),
    };
    if rest.is_empty() {
        bail!("give at least one KEY=VALUE, or KEY- to remove a label");
    }
    let mut changes = Changes::new();
    for word in rest {
        let (key, value) = match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => (key, Some(value.to_owned())),
            (None, Some(key)) => (key, None),
            (None, None) => None.with_context(|| {
                format!("{word} is no label: give KEY=VALUE, or KEY- to remove one")
            })?,
        };
        if changes.insert(key.to_owned(), value).is_some() {
            bail!("{key} is given twice");
        }
    }
    Ok((kind, name, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn labels_are_set_and_removed() {
        let given = words("namespace default istio-injection=enabled istio.io/rev-");
        let (kind, name, changes) = parse(&given).unwrap();
        assert_eq!((kind, name), ("namespace", "default"));
        assert_eq!(changes["istio-injection"].as_deref(), Some("enabled"));
        assert_eq!(changes["istio.io/rev"], None);
        let given = words("ns/shop a=");
        assert_eq!(parse(&given).unwrap().2["a"].as_deref(), Some(""));
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "ns default",
            "ns/default",
            "ns default word",
            "ns default a=1 a-",
        ] {
            assert!(parse(&words(text)).is_err(), "{text}");
        }
    }
}
