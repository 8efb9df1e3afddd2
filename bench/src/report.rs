//! What a run tells: tables, JSON, Markdown, a chart, and whether the targets are met.

mod chart;
mod machine;
mod markdown;
mod table;
mod targets;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use crate::options::Run;
use crate::results::Results;

pub(crate) use machine::machine;

/// The shape of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    results: &'a Results,
    targets: &'a [targets::Verdict],
}

/// Writes everything that was asked for. The exit code says whether a quick run's bounds held.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(options: &Run, results: &Results) -> anyhow::Result<ExitCode> {
    let verdicts = targets::judge(results);
    let text = text(results, &verdicts, table::Form::Terminal);
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("write the report")?;
    if let Some(path) = &options.markdown {
        markdown::save(path, &self::text(results, &verdicts, table::Form::Markdown))?;
    }
    if let Some(path) = &options.json {
        let document = Document {
            results,
            targets: &verdicts,
        };
        save(path, &(serde_json::to_string_pretty(&document)? + "\n"))?;
    }
    if let Some(path) = &options.svg {
        save(path, &chart::draw(results))?;
    }
    if !options.quick {
        return Ok(ExitCode::SUCCESS);
    }
    let mut broken: Vec<String> = verdicts
        .iter()
        .filter_map(targets::Verdict::broken_bound)
        .collect();
    let ours = results.failures.iter().filter(|one| one.is_ours());
    broken.extend(ours.map(|one| one.what.clone()));
    let mut errors = std::io::stderr();
    for bound in &broken {
        writeln!(errors, "failed: {bound}")?;
    }
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn text(results: &Results, verdicts: &[targets::Verdict], form: table::Form) -> String {
    let mut text = machine::describe(&results.machine);
    let tables = [
        ("Workloads", table::workloads(results)),
        ("Ratios against Envoy", table::ratios(results)),
        ("Memory", table::memory(results)),
        ("Parts", table::parts(results)),
        ("Control plane", table::control_plane(results)),
        ("Targets", targets::table(verdicts)),
    ];
    for (title, table) in tables {
        if !table.rows.is_empty() {
            text.push_str(&table.render(title, form));
        }
    }
    if !results.failures.is_empty() {
        text.push_str("\nWhat went wrong:\n");
        for failure in &results.failures {
            text.push_str(&format!("- {}\n", failure.what));
        }
    }
    text
}
