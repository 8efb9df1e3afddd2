//! `meshctl local apply` and `delete`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use mesh_local::api::wire::Outcome;
use owo_colors::OwoColorize;

use super::Scope;
use crate::input::read;
use crate::output;

/// Which manifests.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// File or directory with manifests; `-` for standard input.
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
}

pub(super) async fn apply(files: &Files) -> anyhow::Result<ExitCode> {
    let client = files.scope.place.client()?;
    let mut outcomes = Vec::new();
    for (name, text) in texts(&files.filename)? {
        outcomes.extend(
            client
                .apply(&name, &text, Some(&files.scope.namespace))
                .await?,
        );
    }
    let code = print(&outcomes)?;
    // After the last file: it may bring what the first one refers to.
    let mut found = client.findings().await?;
    found.retain(|finding| {
        let about = |outcome: &Outcome| {
            outcome.action != "refused"
                && (&outcome.object, &outcome.namespace) == (&finding.object, &finding.namespace)
        };
        outcomes.iter().any(about)
    });
    let found = found
        .iter()
        .map(|finding| (finding.object.as_str(), finding.message.as_str()));
    for warning in once_each(found) {
        output::line(&format!("{} {warning}", "warning:".yellow().bold()))?;
    }
    Ok(code)
}

/// Findings (object, `FIELD: TEXT`) as lines. What is said of several fields of an object is said
/// once, with the first of them.
fn once_each<'a>(found: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut said: Vec<(&str, &str, &str, usize)> = Vec::new();
    for (object, message) in found {
        let (field, text) = match message.split_once(": ") {
            Some((field, text)) if field.starts_with("spec") => (field, text),
            _ => ("", message),
        };
        match said.iter_mut().find(|one| (one.0, one.2) == (object, text)) {
            Some(one) => one.3 += 1,
            None => said.push((object, field, text, 0)),
        }
    }
    let line = |(object, field, text, others): (&str, &str, &str, usize)| {
        let field = match (field, others) {
            ("", _) => String::new(),
            (field, 0) => format!("{field}: "),
            (field, others) => format!("{field} and {others} more: "),
        };
        format!("{object}: {field}{text}")
    };
    said.into_iter().map(line).collect()
}

/// What to delete.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// `pod/NAME`, or `deployment/NAME` for one of its pods.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pod: Option<String>,
    /// Seconds that the pod may take; 0 kills it at once [default: its own grace period].
    #[arg(long, conflicts_with = "filename")]
    grace_period: Option<u64>,
    /// File or directory with manifests; `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
}

pub(super) async fn delete(files: &Delete) -> anyhow::Result<ExitCode> {
    let client = files.scope.place.client()?;
    if let Some(pod) = &files.pod {
        let name = client
            .delete_pod(&files.scope.namespace, pod, files.grace_period)
            .await?;
        output::line(&format!("pod/{name} is ending"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcomes = Vec::new();
    for (name, text) in texts(&files.filename)? {
        outcomes.extend(
            client
                .delete(&name, &text, Some(&files.scope.namespace))
                .await?,
        );
    }
    print(&outcomes)
}

fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            texts.push(("-".to_owned(), read(path)?));
            continue;
        }
        for file in files_of(path)? {
            texts.push((file.display().to_string(), read(&file)?));
        }
    }
    Ok(texts)
}

/// The file itself, or the manifests of a directory (not of directories in it).
fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("yaml" | "yml" | "json"))
                && path.file_name().is_some_and(|name| name != "images.yaml")
        })
        .collect();
    files.sort();
    Ok(files)
}

/// One line each; fails if anything was refused.
fn print(outcomes: &[Outcome]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for outcome in outcomes {
        let message = outcome.message.as_deref().unwrap_or_default();
        if outcome.action == "refused" {
            code = ExitCode::FAILURE;
            // What cannot be named has its file and line in the message.
            let object = match message.starts_with(&outcome.object) {
                true => String::new(),
                false => format!("{}: ", outcome.object),
            };
            output::line(&format!("{} {object}{message}", "refused".red().bold()))?;
        } else if message.is_empty() {
            output::line(&format!("{} {}", outcome.object, outcome.action))?;
        } else {
            output::line(&format!(
                "{} {} ({message})",
                outcome.object, outcome.action
            ))?;
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::once_each;

    #[test]
    fn what_many_fields_share_is_said_once() {
        let found = [
            ("virtualservice/a", "spec.http[0].port: name one"),
            ("virtualservice/a", "spec.http[1].port: name one"),
            ("virtualservice/b", "spec.http[0].port: name one"),
            ("virtualservice/a", "no such gateway"),
        ];
        assert_eq!(
            once_each(found.into_iter()),
            [
                "virtualservice/a: spec.http[0].port and 1 more: name one",
                "virtualservice/b: spec.http[0].port: name one",
                "virtualservice/a: no such gateway",
            ]
        );
    }
}
