//! A chart for the README: processor time per request and proxy, as bars.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::measure::Sample;
use crate::results::Results;
use crate::workload::{GRPC, HTTP1, HTTP1_1600, HTTP2, TCP};

const GROUPS: [(&str, &str); 5] = [
    (HTTP1, "HTTP/1.1, saturated"),
    (HTTP1_1600, "HTTP/1.1, 1,600/s"),
    (HTTP2, "HTTP/2"),
    (GRPC, "gRPC"),
    (TCP, "TCP"),
];

const BAR: u32 = 16;
const GAP: u32 = 14;
const LEFT: u32 = 150;
const WIDTH: u32 = 720;
/// For the figure at the end of the longest bar.
const RIGHT: u32 = 150;
const TOP: u32 = 48;

/// A bar: who, and how many microseconds.
type Bar = (Contender, f64);

/// The chart as SVG.
pub(super) fn draw(results: &Results) -> String {
    let groups: Vec<(&str, Vec<Bar>)> = GROUPS
        .iter()
        .map(|(workload, title)| (*title, bars(results, workload)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let all = groups.iter().flat_map(|(_, bars)| bars);
    let most = all.map(|(_, micros)| *micros).fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = TOP;
    for (title, bars) in &groups {
        let middle = y + BAR * u32::try_from(bars.len()).unwrap_or_default() / 2 + 5;
        let _ = writeln!(
            body,
            r#"<text x="{}" y="{middle}" text-anchor="end">{title}</text>"#,
            LEFT - 10
        );
        for (contender, micros) in bars {
            let length = f64::from(WIDTH - LEFT - RIGHT) * micros / most;
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{}"/><text x="{:.1}" y="{}">{} {micros:.1}</text>"#,
                BAR - 3,
                color(*contender),
                f64::from(LEFT) + length + 6.0,
                y + BAR - 5,
                contender.name(),
            );
            y += BAR;
        }
        y += GAP;
    }
    let machine = &results.machine;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">Processor time per request and proxy, microseconds, over mTLS (less is better)</text>\n\
         <text x=\"10\" y=\"37\" fill=\"#666\">{}, {} processors, {}; one worker a proxy, 100 B answers</text>\n\
         {body}</svg>\n",
        y + 6,
        escape(&machine.processor),
        machine.processors,
        escape(&machine.date),
    )
}

fn bars(results: &Results, workload: &str) -> Vec<Bar> {
    [Contender::Mesh, Contender::Haproxy, Contender::Envoy]
        .into_iter()
        .filter_map(|contender| {
            let micros = results.median(workload, contender, Sample::microseconds)?;
            Some((contender, micros))
        })
        .collect()
}

fn color(contender: Contender) -> &'static str {
    match contender {
        Contender::Mesh => "#1a7f5a",
        Contender::Envoy => "#b04a9a",
        Contender::Haproxy => "#4a78b0",
        Contender::Direct => "#999999",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Outcome;

    #[test]
    fn draws_a_bar_for_each_contender() {
        let mut results = Results::default();
        results.machine.processor = "A & B".to_owned();
        for (contender, seconds) in [(Contender::Mesh, 0.1), (Contender::Envoy, 0.5)] {
            let outcome = Outcome {
                requests: 10_000,
                failed: 0,
                unfinished: 0,
                failure: None,
                seconds: 1.0,
                latency: [0.0; 4],
            };
            let sample = Sample {
                round: 0,
                outcome,
                processor_seconds: vec![seconds, seconds],
                memory: Vec::new(),
            };
            results.add_sample(HTTP1, contender, sample);
        }
        let chart = draw(&results);
        assert!(chart.contains("meshproxy 10.0</text>"), "{chart}");
        assert!(chart.contains("Envoy 50.0</text>") && chart.contains("A &amp; B"));
        assert_eq!(chart.matches("<rect").count(), 3);
    }
}
