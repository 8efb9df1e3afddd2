//! `meshctl local apply` and `delete`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use mesh_local::api::wire::Outcome;
use owo_colors::OwoColorize;

use super::Scope;
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
    for finding in client.findings().await? {
        let applied = |outcome: &&Outcome| {
            outcome.action != "refused"
                && (&outcome.object, &outcome.namespace) == (&finding.object, &finding.namespace)
        };
        if outcomes.iter().any(|outcome| applied(&outcome)) {
            output::line(&format!(
                "{} {}: {}",
                "warning:".yellow().bold(),
                finding.object,
                finding.message
            ))?;
        }
    }
    Ok(code)
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
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("read standard input")?;
            texts.push(("-".to_owned(), text));
            continue;
        }
        for file in files_of(path)? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("read {}", file.display()))?;
            texts.push((file.display().to_string(), text));
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
