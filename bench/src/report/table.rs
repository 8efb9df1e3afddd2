//! Tables, for terminals and in Markdown.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use crate::contender::Contender;
use crate::measure::Sample;
use crate::results::{Results, Situation};
use crate::workload;

/// How tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In columns.
    Terminal,
    /// As GitHub shows it.
    Markdown,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// The names of the columns.
    pub(super) head: Vec<&'static str>,
    /// Lines of cells.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// The table under its title.
    pub(super) fn render(&self, title: &str, form: Form) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(match form {
                Form::Terminal => presets::NOTHING,
                Form::Markdown => presets::ASCII_MARKDOWN,
            })
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(&self.head);
        table.add_rows(&self.rows);
        for (number, column) in table.column_iter_mut().enumerate() {
            let figures = self
                .rows
                .iter()
                .filter_map(|row| row.get(number))
                .all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
            if figures {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        match form {
            Form::Terminal => format!("\n{title}\n{table}\n"),
            Form::Markdown => format!("\n### {title}\n\n{table}\n"),
        }
    }
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Figures of every workload and contender.
pub(super) fn workloads(results: &Results) -> Table {
    let mut rows = Vec::new();
    for workload in workload::ALL {
        for contender in Contender::ALL {
            if results.samples(workload.name, contender).is_empty() {
                continue;
            }
            let median =
                |of: fn(&Sample) -> Option<f64>| results.median(workload.name, contender, of);
            let loaded = median(|sample| {
                let count = sample.memory.len();
                let all: u64 = sample.memory.iter().map(|one| one.resident).sum();
                (count > 0).then(|| all as f64 / count as f64 / f64::from(1 << 20))
            });
            rows.push(vec![
                workload.name.to_owned(),
                contender.name().to_owned(),
                figure(median(|sample| Some(sample.rate())), 0),
                figure(median(Sample::microseconds), 1),
                figure(median(|sample| Some(sample.outcome.latency[0])), 0),
                figure(median(|sample| Some(sample.outcome.latency[1])), 0),
                figure(median(|sample| Some(sample.outcome.latency[2])), 0),
                figure(median(|sample| Some(sample.outcome.latency[3])), 0),
                figure(loaded, 1),
            ]);
        }
    }
    Table {
        head: vec![
            "workload",
            "contender",
            "requests/s",
            "CPU us/request/proxy",
            "p50 us",
            "p90 us",
            "p99 us",
            "p99.9 us",
            "MiB",
        ],
        rows,
    }
}

/// A figure of a contender over Envoy's in the same round: median, least, most.
pub(super) fn ratio(
    results: &Results,
    workload: &str,
    contender: Contender,
    other: Contender,
    figure: impl Fn(&Sample) -> Option<f64>,
) -> Option<[f64; 3]> {
    let ratios: Vec<f64> = results
        .pairs(workload, contender, other)
        .filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let median = crate::results::median(ratios)?;
    Some([median, least, most])
}

/// Ratios against Envoy with their spread over the rounds.
pub(super) fn ratios(results: &Results) -> Table {
    let mut rows = Vec::new();
    for workload in workload::ALL {
        for contender in [Contender::Mesh, Contender::Haproxy] {
            let against = |of: fn(&Sample) -> Option<f64>| {
                let ratio = ratio(results, workload.name, contender, Contender::Envoy, of);
                ratio.map_or("-".to_owned(), |[median, least, most]| {
                    format!("{median:.2} ({least:.2} to {most:.2})")
                })
            };
            let row = [
                against(Sample::microseconds),
                against(|sample| Some(sample.rate())),
                against(|sample| Some(sample.outcome.latency[0])),
                against(|sample| Some(sample.outcome.latency[2])),
            ];
            if row.iter().any(|cell| cell != "-") {
                let mut cells = vec![workload.name.to_owned(), contender.name().to_owned()];
                cells.extend(row);
                rows.push(cells);
            }
        }
    }
    Table {
        head: vec!["workload", "contender", "CPU", "requests/s", "p50", "p99"],
        rows,
    }
}

/// Memory in every situation.
pub(super) fn memory(results: &Results) -> Table {
    let rows = results.memory.iter().filter_map(|found| {
        let (resident, anonymous) = found.medians()?;
        let mib = |bytes: f64| format!("{:.1}", bytes / f64::from(1 << 20));
        let situation = match found.situation {
            Situation::Idle => "idle".to_owned(),
            Situation::Services(services) => format!("{services} services"),
            Situation::Connections(connections) => format!("{connections} idle mTLS connections"),
        };
        let busy = crate::results::median(found.idle_percent.clone());
        Some(vec![
            situation,
            found.contender.name().to_owned(),
            mib(resident),
            mib(anonymous),
            figure(busy, 3),
        ])
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort_by(|a, b| a[0].cmp(&b[0]));
    Table {
        head: vec![
            "situation",
            "contender",
            "resident MiB",
            "anonymous MiB",
            "% of a processor",
        ],
        rows,
    }
}

/// Parts of the engine.
pub(super) fn parts(results: &Results) -> Table {
    Table {
        head: vec!["part", "ns"],
        rows: results
            .parts
            .iter()
            .map(|part| vec![part.name.clone(), format!("{:.0}", part.nanoseconds)])
            .collect(),
    }
}

/// The control plane.
pub(super) fn control_plane(results: &Results) -> Table {
    Table {
        head: vec!["control plane", "figure"],
        rows: results
            .control_plane
            .iter()
            .flat_map(crate::swarm::Findings::rows)
            .map(|(name, value)| vec![name, value])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_both_forms() {
        let table = Table {
            head: vec!["a", "ns"],
            rows: vec![vec!["x".to_owned(), "12".to_owned()]],
        };
        let markdown = table.render("Parts", Form::Markdown);
        assert!(markdown.contains("### Parts"), "{markdown}");
        assert!(markdown.contains("| x | 12 |"), "{markdown}");
        assert!(!table.render("Parts", Form::Terminal).contains('|'));
    }
}
