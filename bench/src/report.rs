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

/// Writes everything that was asked for. The exit code says whether ours worked and, in a quick
/// run, whether the bounds held.
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
    let failed = failed(results, options.quick.then_some(&verdicts));
    let mut errors = std::io::stderr();
    for what in &failed {
        writeln!(errors, "failed: {what}")?;
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why the run has failed; `bounded`: the verdicts whose bounds count. That somebody is missing, or
/// fails, with whom we are only compared, is none.
fn failed(results: &Results, bounded: Option<&Vec<targets::Verdict>>) -> Vec<String> {
    let ours = results.failures.iter().filter(|one| one.is_ours());
    let mut failed: Vec<String> = ours.map(|one| one.what.clone()).collect();
    let verdicts = bounded.into_iter().flatten();
    failed.extend(verdicts.filter_map(targets::Verdict::broken_bound));
    if results.is_empty() && failed.is_empty() {
        failed.push("nothing was measured".to_owned());
    }
    failed
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Contender;
    use crate::load::Outcome;
    use crate::measure::Sample;
    use crate::results::Failure;
    use crate::workload::HTTP1;

    /// A sample of 10,000 requests.
    fn sample(round: u32, processor_seconds: f64) -> Sample {
        Sample {
            round,
            outcome: Outcome {
                requests: 10_000,
                failed: 0,
                unfinished: 0,
                failure: None,
                seconds: 1.0,
                latency: [0.0; 4],
            },
            processor_seconds: vec![processor_seconds; 2],
            memory: Vec::new(),
        }
    }

    #[test]
    fn a_broken_bound_fails_a_quick_run_only() {
        let mut results = Results::default();
        results.add_sample(HTTP1, Contender::Mesh, sample(0, 0.9));
        results.add_sample(HTTP1, Contender::Envoy, sample(0, 1.0));
        let verdicts = targets::judge(&results);
        let failed_quick = failed(&results, Some(&verdicts));
        assert_eq!(failed_quick.len(), 1, "{failed_quick:?}");
        assert!(failed_quick[0].contains("saturated, CPU is 0.90, more than 0.75"));
        assert!(failed(&results, None).is_empty());
    }

    #[test]
    fn only_what_is_ours_fails_a_run() {
        let mut results = Results::default();
        results.add_sample(HTTP1, Contender::Direct, sample(0, 1.0));
        let failure = |contender| Failure {
            contender,
            what: "x".to_owned(),
        };
        for contender in [Contender::Envoy, Contender::Haproxy] {
            results.failures.push(failure(Some(contender)));
        }
        assert!(failed(&results, None).is_empty());
        for contender in [None, Some(Contender::Direct), Some(Contender::Mesh)] {
            results.failures.push(failure(contender));
        }
        assert_eq!(failed(&results, None), ["x", "x", "x"]);
        let nothing = Results::default();
        assert_eq!(failed(&nothing, None), ["nothing was measured"]);
    }

    /// A round in which one of two failed must not shift the ratios of the others.
    #[test]
    fn ratios_are_of_the_same_round() {
        let mut results = Results::default();
        results.add_sample(HTTP1, Contender::Mesh, sample(1, 1.0));
        results.add_sample(HTTP1, Contender::Envoy, sample(0, 8.0));
        results.add_sample(HTTP1, Contender::Envoy, sample(1, 2.0));
        let (ours, theirs) = (Contender::Mesh, Contender::Envoy);
        let ratio = table::ratio(&results, HTTP1, ours, theirs, Sample::microseconds);
        assert_eq!(ratio, Some([0.5; 3]));
    }
}
