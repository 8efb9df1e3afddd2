//! What the user wants installed: a profile, files and assignments, laid over one another.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::set::{Literal, set};

/// Options that say what is installed. Later ones win: profile, files, then assignments.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ValueArgs {
    /// The set of values to start from (`--set profile=NAME` does the same).
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(mesh_helm::PROFILES))]
    profile: Option<String>,
    /// File of values in YAML, as for Helm; may be repeated. `-` is standard input.
    #[arg(short = 'f', long = "filename", visible_alias = "values", value_name = "FILE",
        value_hint = clap::ValueHint::FilePath)]
    filenames: Vec<PathBuf>,
    /// A value, in Helm's syntax: `global.hub=registry.example.com/mesh`, `a.b={x,y}`, `a[0].b=1`. A dot or
    /// comma that belongs to a key or value is escaped: podAnnotations.example\.com/team=a
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// As --set, but always text: podAnnotations.cached="true"
    #[arg(long = "set-string", value_name = "KEY=VALUE")]
    set_strings: Vec<String>,
    /// Name of the control plane, to run several side by side [default: default].
    #[arg(short, long, value_name = "NAME")]
    revision: Option<String>,
}

/// What the user gave, and nothing of what profiles and charts add.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values(Value);

/// The values of each chart.
pub(crate) struct ChartValues {
    /// `None`: the base chart is not wanted.
    pub(crate) base: Option<Value>,
    /// `None`: the control plane is not wanted.
    pub(crate) control_plane: Option<Value>,
    /// Names and values of the gateways that are wanted.
    pub(crate) gateways: Vec<(String, Value)>,
}

impl ValueArgs {
    /// Reads the files and makes the assignments.
    ///
    /// # Errors
    /// A file that cannot be read or is no map, an assignment that cannot be read, an unknown profile.
    pub(crate) fn load(&self) -> anyhow::Result<Values> {
        let mut values = json!({});
        if let Some(profile) = &self.profile {
            values["profile"] = profile.clone().into();
        }
        for path in &self.filenames {
            let given =
                file(path).with_context(|| format!("read values from {}", path.display()))?;
            values = lay_over(values, given);
        }
        let typed = self.sets.iter().map(|text| (text, Literal::Typed));
        let texts = self.set_strings.iter().map(|text| (text, Literal::Text));
        let mut given = json!({});
        for (text, literal) in typed.chain(texts) {
            set(&mut given, text, literal).with_context(|| format!("read --set {text}"))?;
        }
        values = lay_over(values, without_alias(given)?);
        if let Some(revision) = &self.revision {
            values["revision"] = revision.clone().into();
        }
        Ok(Values(values))
    }
}

impl Values {
    /// Values as they are recorded.
    pub(crate) fn from_yaml(text: &str) -> anyhow::Result<Self> {
        let values: Value = serde_yaml::from_str(text)?;
        ensure!(values.is_object(), "values are no map");
        Ok(Self(values))
    }

    /// Lays these values over `below`.
    pub(crate) fn over(self, below: Self) -> Self {
        Self(lay_over(below.0, self.0))
    }

    /// As [`Values::from_yaml`] reads them.
    pub(crate) fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_yaml::to_string(&self.0)?)
    }

    /// `default` unless the values name another one.
    pub(crate) fn revision(&self) -> anyhow::Result<String> {
        let revision = match &self.0["revision"] {
            Value::Null => "default",
            Value::String(text) if text.is_empty() => "default",
            Value::String(text) => text,
            other => bail!("revision {other} is no text (quote it in a file, or use --revision)"),
        };
        // It becomes part of names and label values.
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            revision.len() <= 40
                && revision.chars().all(letter)
                && !revision.starts_with('-')
                && !revision.ends_with('-'),
            "revision {revision:?} cannot be part of a name: use lower case letters, digits and dashes, such as 1-2-0"
        );
        Ok(revision.to_owned())
    }

    /// The profile with these values over it, for each chart.
    ///
    /// # Errors
    /// An unknown profile; `gateways` that are no map.
    pub(crate) fn by_chart(&self) -> anyhow::Result<ChartValues> {
        let profile = match &self.0["profile"] {
            Value::Null => "default",
            Value::String(name) => name,
            other => bail!("profile {other} is no name"),
        };
        let mut values = lay_over(mesh_helm::profile(profile)?, self.0.clone());
        let Some(root) = values.as_object_mut() else {
            bail!("profile {profile} is no map");
        };
        root.remove("profile");
        let mut base = root.remove("base").unwrap_or_else(|| json!({}));
        let gateways = match root.remove("gateways") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(gateways)) => gateways,
            Some(other) => bail!(
                "gateways is {other}, not a map from names to values (for example --set gateways.istio-ingressgateway.enabled=true)"
            ),
        };
        let shared = match root.get("revision") {
            Some(revision) => json!({"revision": revision}),
            None => json!({}),
        };
        let mut wanted = Vec::new();
        for (name, mut own) in gateways {
            if take_enabled(&mut own, &format!("gateways.{name}.enabled"))? {
                wanted.push((name, lay_over(shared.clone(), own)));
            }
        }
        Ok(ChartValues {
            base: take_enabled(&mut base, "base.enabled")?.then_some(base),
            control_plane: take_enabled(&mut values, "enabled")?.then_some(values),
            gateways: wanted,
        })
    }
}

/// Removes `enabled`: whether a chart is wanted at all is no value of it. Wanted if it isn't said.
fn take_enabled(values: &mut Value, path: &str) -> anyhow::Result<bool> {
    let fields = values.as_object_mut();
    match fields.and_then(|fields| fields.remove("enabled")) {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(wanted)) => Ok(wanted),
        Some(other) => bail!("{path} is {other}: write true or false"),
    }
}

/// Maps are merged, everything else is replaced. `null` stays: in the chart it removes a default.
fn lay_over(below: Value, over: Value) -> Value {
    match (below, over) {
        (Value::Object(mut below), Value::Object(over)) => {
            for (key, value) in over {
                let laid = match below.remove(&key) {
                    Some(under) => lay_over(under, value),
                    None => value,
                };
                below.insert(key, laid);
            }
            Value::Object(below)
        }
        (_, over) => over,
    }
}

fn file(path: &Path) -> anyhow::Result<Value> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(path)?
    };
    let mut documents = serde_yaml::Deserializer::from_str(&text);
    let first = documents.next().map(Value::deserialize).transpose()?;
    ensure!(
        documents.next().is_none(),
        "it has several documents (---): values are a single map"
    );
    let values = first.unwrap_or_default();
    match values {
        Value::Null => Ok(json!({})),
        Value::Object(_) if values["kind"] == "IstioOperator" => bail!(
            "it is an IstioOperator: move what stands in spec.values and spec.meshConfig to the \
             root of the file, and gateways to gateways.NAME"
        ),
        Value::Object(_) => without_alias(values),
        _ => bail!("it is no map of values"),
    }
}

/// `values.X` means `X`, as Istio's users are used to.
fn without_alias(mut values: Value) -> anyhow::Result<Value> {
    let Some(inner) = values
        .as_object_mut()
        .and_then(|root| root.remove("values"))
    else {
        return Ok(values);
    };
    ensure!(inner.is_object(), "values is no map");
    Ok(lay_over(inner, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &ValueArgs) -> Value {
        args.load().unwrap().0
    }

    fn sets(sets: &[&str]) -> ValueArgs {
        ValueArgs {
            sets: sets.iter().map(|one| (*one).to_owned()).collect(),
            ..ValueArgs::default()
        }
    }

    #[test]
    fn assignments_lie_over_files_and_files_over_earlier_values() {
        let dir = std::env::temp_dir().join(format!("meshctl-values-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("values.yaml");
        std::fs::write(
            &path,
            "profile: demo\nvalues:\n  global: {hub: file, tag: file}\n",
        )
        .unwrap();
        let args = ValueArgs {
            filenames: vec![path],
            ..sets(&["global.hub=set"])
        };
        let below = Values(json!({"global": {"tag": "below", "logging": {"level": "debug"}}}));
        let values = args.load().unwrap().over(below).0;
        std::fs::remove_dir_all(&dir).unwrap();
        let wanted = json!({"profile": "demo",
            "global": {"hub": "set", "tag": "file", "logging": {"level": "debug"}}});
        assert_eq!(values, wanted);
    }

    #[test]
    fn values_before_a_key_is_only_an_alias() {
        let values = load(&sets(&["values.global.hub=a", "global.tag=b"]));
        assert_eq!(values, json!({"global": {"hub": "a", "tag": "b"}}));
    }

    #[test]
    fn null_stays_to_remove_a_default() {
        let values = load(&sets(&["resources=null"]));
        assert_eq!(values, json!({"resources": null}));
    }

    #[test]
    fn revisions_are_names() {
        let revision = |text: &str| Values(json!({"revision": text})).revision();
        assert_eq!(revision("").unwrap(), "default");
        assert_eq!(revision("1-2-0").unwrap(), "1-2-0");
        assert!(revision("1.2").is_err());
        assert!(revision("-a").is_err());
    }

    #[test]
    fn a_chart_is_wanted_unless_it_is_disabled() {
        let values = Values(json!({"profile": "empty", "base": {"enabled": false},
            "revision": "canary",
            "gateways": {"a": {"enabled": false}, "b": {"service": {"type": "NodePort"}}}}));
        let charts = values.by_chart().unwrap();
        assert!(charts.base.is_none());
        assert_eq!(charts.gateways.len(), 1);
        let (name, own) = &charts.gateways[0];
        assert_eq!((name.as_str(), &own["revision"]), ("b", &json!("canary")));
        let unclear = Values(json!({"gateways": {"a": {"enabled": "no"}}})).by_chart();
        let error = unclear.err().unwrap().to_string();
        assert_eq!(error, r#"gateways.a.enabled is "no": write true or false"#);
    }
}
