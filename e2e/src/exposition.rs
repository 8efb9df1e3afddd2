//! A strict reader of Prometheus' text exposition: what it cannot read is an error, so that a
//! scraper never meets it first.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, bail, ensure};

/// Labels of a series.
pub type Labels = BTreeMap<String, String>;

/// All samples of an exposition.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: HashMap<String, Vec<(Labels, f64)>>,
}

impl Exposition {
    /// Reads a text.
    ///
    /// # Errors
    /// When a line is no comment and no sample, a family is described twice or has no type, or a
    /// series stands twice.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.ends_with('\n'), "the last line has no end");
        let mut found = Self::default();
        let mut types: HashMap<String, String> = HashMap::new();
        let mut series = HashSet::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                if words.next() == Some("TYPE") {
                    let name = words
                        .next()
                        .with_context(|| format!("no name in {line:?}"))?;
                    let kind = words
                        .next()
                        .with_context(|| format!("no type in {line:?}"))?;
                    let before = types.insert(name.to_owned(), kind.to_owned());
                    ensure!(before.is_none(), "{name} has two types");
                }
                continue;
            }
            let (name, labels, value) =
                sample(line).with_context(|| format!("the sample {line:?}"))?;
            ensure!(described(&types, &name), "{name} has no type");
            ensure!(
                series.insert((name.clone(), labels.clone())),
                "twice: {line}"
            );
            found.samples.entry(name).or_default().push((labels, value));
        }
        Ok(found)
    }

    /// The series of a metric in which every label has its value.
    pub fn matching<'a>(
        &'a self,
        metric: &str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a (Labels, f64)> {
        let all = self.samples.get(metric).into_iter().flatten();
        all.filter(|(found, _)| {
            labels
                .iter()
                .all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
        })
    }

    /// The sum of those series.
    #[must_use]
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(metric, labels).map(|(_, value)| value).sum()
    }
}

/// A histogram's samples bear the family's name with a suffix.
fn described(types: &HashMap<String, String>, name: &str) -> bool {
    let family = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    types.contains_key(name)
        || family.is_some_and(|family| {
            types
                .get(family)
                .is_some_and(|kind| kind == "histogram" || kind == "summary")
        })
}

fn sample(line: &str) -> anyhow::Result<(String, Labels, f64)> {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .context("no value")?;
    let (name, rest) = line.split_at(end);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'),
        "no name"
    );
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest
        .strip_prefix(' ')
        .context("no space before the value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().context("no number")?,
    };
    Ok((name.to_owned(), labels, value))
}

/// Reads `name="value",...}`; the labels and what follows them.
fn labels(mut rest: &str) -> anyhow::Result<(Labels, &str)> {
    let mut labels = Labels::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = quoted(after)?;
        ensure!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} twice"
        );
        match after.split_at_checked(1) {
            Some((",", after)) => rest = after,
            Some(("}", after)) => return Ok((labels, after)),
            _ => bail!("neither ',' nor '}}' after {name}"),
        }
    }
    bail!("the labels do not end")
}

fn quoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other @ ('\\' | '"'))) => value.push(other),
                other => bail!("escape of {other:?}"),
            },
            other => value.push(other),
        }
    }
    bail!("a value does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples_and_refuses_the_rest() {
        let good = "# HELP a A.\n# TYPE a counter\na{b=\"c\\\"d\",e=\"\"} 3\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\n";
        let read = Exposition::parse(good).unwrap();
        assert_eq!(read.sum("a", &[("b", "c\"d")]), 3.0);
        assert_eq!(read.sum("a", &[("b", "x")]), 0.0);
        for bad in [
            "a 1",
            "a 1\n",
            "# TYPE a counter\na{b=\"c} 1\n",
            "# TYPE a counter\na{b=\"c\",b=\"d\"} 1\n",
            "# TYPE a counter\na one\n",
            "# TYPE a counter\na 1\na 2\n",
            "# TYPE a counter\n# TYPE a gauge\n",
            "# TYPE a counter\na_sum 1\n",
        ] {
            assert!(Exposition::parse(bad).is_err(), "{bad:?}");
        }
    }
}
